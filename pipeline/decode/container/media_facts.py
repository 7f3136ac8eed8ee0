"""Facts of a decoded media file, and warnings about what limits the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...errors import MediaError
from ...segments import segment_count
from .media_info import MediaInfo
from .report import DecodeReport

NO_AUDIO, NO_VIDEO = "no audio events", "no visual events"  # what a stream that cannot be decoded leads to

# Called with the stage ("audio", "video", "frames"; "features" while networks compute what has been decoded), seconds
# done, and seconds in total if the container states them.
DecodeProgress = Callable[[str, float, "float | None"], None]


@dataclass(frozen=True)
class MediaFacts:
    """Facts of a decoded file. The fields of a missing stream are None."""

    path: str
    format: str  # FFmpeg's names of the container, comma-separated
    container_duration: float | None  # seconds, as the container states
    duration: float  # seconds decoded, of the longer stream
    audio_codec: str | None
    audio_duration: float | None  # seconds decoded
    video_codec: str | None
    video_duration: float | None  # seconds decoded
    width: int | None  # pixels, before rotation
    height: int | None
    frame_rate: float | None  # per second
    decoder: str  # the frame reader that was used
    frames_decoded: int
    frames_damaged: int
    parsed: Sequence[int] | None = None  # [start, end), the seconds that were decoded; None for the whole file

    def __post_init__(self) -> None:
        if self.parsed is not None:  # a list, where the facts come from another process
            object.__setattr__(self, "parsed", tuple(self.parsed))

    @property
    def has_audio(self) -> bool:
        """Whether audio was decoded."""
        return self.audio_codec is not None

    @property
    def has_video(self) -> bool:
        """Whether frames were decoded."""
        return self.video_codec is not None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping of all fields; `parsed` only where a part was decoded."""
        fields = asdict(self)
        if self.parsed is None:
            del fields["parsed"]
        else:
            fields["parsed"] = list(self.parsed)
        return fields


def conclude(
    media: MediaInfo,
    audio_report: DecodeReport | None,
    visual_report: DecodeReport | None,
    failures: Mapping[str, MediaError],
    *,
    end: int | None = None,
) -> tuple[MediaFacts, tuple[str, ...]]:
    """Collect the facts of a file after decoding, and everything that limits the result.

    Args:
        media: the probed file.
        audio_report: outcome of the audio stream, None where none was decoded.
        visual_report: the same of the video stream.
        failures: `NO_AUDIO` or `NO_VIDEO` -> cause, for streams that could not be decoded.
        end: the second at which the part that is decoded ends, None for the end of the file.

    Returns:
        The facts, and warnings, each once.

    Raises:
        MediaError: no stream was decoded; the first of the failures.
    """
    reports = [report for report in (audio_report, visual_report) if report]
    if not reports:
        raise next(iter(failures.values()), MediaError(media.path, "holds neither audio nor video", "no-streams"))
    facts = _collect_facts(media, audio_report, visual_report)
    if end is not None:
        facts = replace(facts, duration=min(facts.duration, float(end)))
    warnings = _stream_warnings(media)
    warnings += [f"{consequence}: {error.cause}" for consequence, error in failures.items()]
    warnings += [warning for report in reports for warning in report.warnings]
    return facts, tuple(dict.fromkeys(warnings + _length_warnings(facts)))


def _collect_facts(
    media: MediaInfo, audio_report: DecodeReport | None, visual_report: DecodeReport | None
) -> MediaFacts:
    video = media.video if visual_report else None
    return MediaFacts(
        path=str(media.path),
        format=media.format,
        container_duration=media.duration,
        duration=max(report.end for report in (audio_report, visual_report) if report),
        audio_codec=media.audio.codec if media.audio and audio_report else None,
        audio_duration=audio_report.end if audio_report else None,
        video_codec=video.codec if video else None,
        video_duration=visual_report.end if visual_report else None,
        width=video.width if video else None,
        height=video.height if video else None,
        frame_rate=video.frame_rate if video else None,
        decoder=visual_report.decoder if visual_report else "ffmpeg",
        frames_decoded=visual_report.decoded if visual_report else 0,
        frames_damaged=visual_report.damaged if visual_report else 0,
    )


def _stream_warnings(media: MediaInfo) -> list[str]:
    """Warn of missing streams, and of a choice among several."""
    warnings = []
    others = media.other_programmes()
    for kind, selected in (("video", media.video), ("audio", media.audio)):
        streams = [stream for stream in media.streams if stream.kind == kind]
        if selected is None:
            where = "programme" if streams else "file"
            warnings.append(f"the {where} has no {kind} stream: {NO_VIDEO if kind == 'video' else NO_AUDIO}")
        elif len(streams) > 1 and not others:
            warnings.append(f"the file has {len(streams)} {kind} streams; stream {selected.index} is parsed")
    if others:
        parsed = sorted(frozenset[int]().union(*(stream.programmes for stream in media.selected)))
        named = ", ".join(map(str, parsed))
        rest = ", ".join(map(str, others))
        warnings.append(f"the file has several programmes; number {named} is parsed, not {rest}")
    return warnings


def _length_warnings(facts: MediaFacts) -> list[str]:
    """Warn of streams that end more than a second before the last segment."""
    warnings, segments = [], segment_count(facts.duration)
    if facts.video_duration is not None and segments - facts.video_duration > 1:
        warnings.append(f"no video after {facts.video_duration:.2f} s: its last frame is repeated to {segments} s")
    if facts.audio_duration is not None and segments - facts.audio_duration > 1:
        warnings.append(f"no audio after {facts.audio_duration:.2f} s: it is padded with silence to {segments} s")
    return warnings
