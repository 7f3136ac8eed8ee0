"""Facts and warnings of a decoded media file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...extractors.sampling import Stream
from ..decode.base import DecodeReport
from ..decode.probe import MediaInfo
from ..errors import MediaError

# What is being worked on ("audio", "video", ...), seconds of it done, seconds in all where the container says so.
DecodeProgress = Callable[[str, float, "float | None"], None]


@dataclass(frozen=True)
class MediaFacts:
    """What is known of a file after decoding it. Durations in seconds; a missing stream's fields are None."""

    path: str
    format: str
    container_duration: float | None
    duration: float  # of what was decoded, the longer of sound and video
    audio_codec: str | None
    audio_duration: float | None
    video_codec: str | None
    video_duration: float | None
    width: int | None
    height: int | None
    frame_rate: float | None
    decoder: str  # which reader gave the frames
    frames_decoded: int
    frames_damaged: int

    @property
    def has_audio(self) -> bool:
        return self.audio_codec is not None

    @property
    def has_video(self) -> bool:
        return self.video_codec is not None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class MediaSummary:
    """What is known once a file is decoded. `rows` tells for each row of a stream's features which of the stream's
    inputs, counted in the order in which they came, it is computed from: T of them, for frames 8T."""

    rows: dict[Stream, list[int]]
    facts: MediaFacts
    warnings: tuple[str, ...]


def summarize(  # noqa: PLR0917
    media: MediaInfo,
    rows: dict[Stream, list[int]],
    segments: int,
    heard: DecodeReport | None,
    seen: DecodeReport | None,
    failures: Mapping[str, MediaError],
) -> MediaSummary:
    """What is known once both streams are done. heard, seen: what became of them; failures: consequence -> cause."""
    facts = _facts(media, heard, seen)
    warnings = _stream_warnings(media)
    warnings += [f"{consequence}: {error.cause}" for consequence, error in failures.items()]
    warnings += [warning for report in (heard, seen) if report for warning in report.warnings]
    return MediaSummary(rows, facts, (*warnings, *_length_warnings(facts, segments)))


def _stream_warnings(media: MediaInfo) -> list[str]:
    """Streams that the file lacks, and those of several that are left alone."""
    warnings = []
    for kind, chosen in (("video", media.video), ("audio", media.audio)):
        count = sum(stream.kind == kind for stream in media.streams)
        if chosen is None:
            warnings.append(f"the file has no {kind} stream: no {'visual' if kind == 'video' else 'audio'} events")
        elif count > 1:
            warnings.append(f"the file has {count} {kind} streams; stream {chosen.index} is parsed")
    return warnings


def _length_warnings(facts: MediaFacts, segments: int) -> list[str]:
    """Streams that end more than a second before the last segment."""
    warnings = []
    if facts.video_duration is not None and segments - facts.video_duration > 1:
        warnings.append(f"no picture after {facts.video_duration:.2f} s: the last frame is held to {segments} s")
    if facts.audio_duration is not None and segments - facts.audio_duration > 1:
        warnings.append(f"no sound after {facts.audio_duration:.2f} s: silence is assumed to {segments} s")
    return warnings


def _facts(media: MediaInfo, heard: DecodeReport | None, seen: DecodeReport | None) -> MediaFacts:
    video = media.video if seen else None
    return MediaFacts(
        path=str(media.path),
        format=media.format,
        container_duration=media.duration,
        duration=max(report.end for report in (heard, seen) if report),
        audio_codec=media.audio.codec if media.audio and heard else None,
        audio_duration=heard.end if heard else None,
        video_codec=video.codec if video else None,
        video_duration=seen.end if seen else None,
        width=video.width if video else None,
        height=video.height if video else None,
        frame_rate=video.frame_rate if video else None,
        decoder=seen.decoder if seen else "ffmpeg",
        frames_decoded=seen.decoded if seen else 0,
        frames_damaged=seen.damaged if seen else 0,
    )
