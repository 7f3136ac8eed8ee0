"""From a media file to the features a parser reads: one decode of each stream feeds every network."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..extractors.base import Extractor
from ..extractors.profiles import FeatureSpec, feature_spec, get_profile
from .decode import DecodeReport
from .errors import MediaError
from .probe import MediaInfo, probe
from .process import DEFAULT_TIMEOUT
from .runner import Progress, Runner
from .seconds import check_decoder, open_seconds
from .segments import FRAMES_PER_SEGMENT, fit_rows, segment_count
from .sound import SoundReader

_BLACK = np.zeros((FRAMES_PER_SEGMENT, 112, 112, 3), np.uint8)


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


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one video of T segments. Raises ValueError where shapes or values are not what they must be.

    A stream that the file lacks is there all the same, as the features of silence or of black frames; `media` says
    that it is missing.
    """

    audio: NDArray[np.float32]  # (T, A)
    visual_2d: NDArray[np.float32]  # (8T, V)
    visual_3d: NDArray[np.float32]  # (T, S)
    spec: FeatureSpec
    duration: float  # seconds
    media: MediaFacts | None = None
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        segments, frames = len(self.audio), len(self.audio) * self.spec.frames_per_segment
        wanted = zip((segments, frames, segments), self.spec.dims, strict=True)
        for name, shape in zip(("audio", "visual_2d", "visual_3d"), wanted, strict=True):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32 or not segments:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite")

    @property
    def segments(self) -> int:
        """T."""
        return len(self.audio)


def extract_features(
    path: Path | str,
    extractors: Mapping[str, Extractor],
    *,
    profile: str = "llp",
    decoder: str = "auto",
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | None = None,
) -> FeatureSet:
    """Decode a file once and run one extractor of each stream over it.

    extractors: name -> extractor, on `device`. batch_size: seconds that go through the networks at once; with it,
    and not with the video, grows the memory. timeout: seconds without progress after which decoding is given up.
    Raises MediaError for what cannot be decoded at all; what is missing or damaged is in `warnings`. ValueError for
    unknown names and for a decoder that cannot serve the profile.
    """
    chosen = get_profile(profile)
    check_decoder(chosen, decoder)
    spec = feature_spec(profile, extractors)
    by_stream = {extractor.stream: extractor for extractor in extractors.values()}
    media = probe(Path(path), timeout=timeout)
    runner = Runner(torch.device(device), batch_size, media.duration, progress)

    warnings = _stream_warnings(media)
    failures: dict[str, MediaError] = {}
    audio, heard = np.empty((0, spec.dims[0]), np.float32), None
    if media.audio is not None:
        try:
            sound = SoundReader(media, chosen.sound, timeout=timeout)
            audio, heard = runner.run_sound(by_stream["audio"], sound), sound.report
        except MediaError as error:
            failures["no audio events"] = error
    frames_2d, clips_3d, seen = np.empty((0, spec.dims[1]), np.float32), np.empty((0, spec.dims[2]), np.float32), None
    if media.video is not None:
        try:
            known = heard.end if heard else 0.0
            opened = open_seconds(media, chosen, decoder=decoder, heard=known, timeout=timeout, tell=runner.tell)
            with contextlib.closing(opened) as seconds:
                frames_2d, clips_3d = runner.run_video(by_stream["visual_2d"], by_stream["visual_3d"], seconds)
                seen = seconds.report
        except MediaError as error:
            failures["no visual events"] = error
    if heard is None and seen is None:
        raise next(iter(failures.values()), MediaError(media.path, "holds neither audio nor video"))
    warnings += [f"{consequence}: {error.cause}" for consequence, error in failures.items()]
    warnings += [warning for report in (heard, seen) if report for warning in report.warnings]

    duration = max(report.end for report in (heard, seen) if report)
    segments = segment_count(duration)
    # What a stream lacks to the full length: silence, the last frame held, or black where there is no picture.
    if len(audio) < segments:
        audio = np.concatenate([audio, runner.silence(by_stream["audio"], segments - len(audio))])
    if seen is None:
        frames_2d, clips_3d = runner.run_video(by_stream["visual_2d"], by_stream["visual_3d"], [_BLACK])
    facts = _facts(media, heard, seen, duration)
    warnings += _length_warnings(facts, segments)
    return FeatureSet(
        audio=audio[:segments],
        visual_2d=fit_rows(frames_2d, segments * FRAMES_PER_SEGMENT),
        visual_3d=fit_rows(clips_3d, segments),
        spec=spec,
        duration=duration,
        media=facts,
        warnings=tuple(warnings),
    )


def _stream_warnings(media: MediaInfo) -> list[str]:
    warnings = []
    for kind, chosen in (("video", media.video), ("audio", media.audio)):
        count = sum(stream.kind == kind for stream in media.streams)
        if chosen is None:
            warnings.append(f"the file has no {kind} stream: no {'visual' if kind == 'video' else 'audio'} events")
        elif count > 1:
            warnings.append(f"the file has {count} {kind} streams; stream {chosen.index} is parsed")
    return warnings


def _length_warnings(facts: MediaFacts, segments: int) -> list[str]:
    warnings = []
    if facts.video_duration is not None and segments - facts.video_duration > 1:
        warnings.append(f"no picture after {facts.video_duration:.2f} s: the last frame is held to {segments} s")
    if facts.audio_duration is not None and segments - facts.audio_duration > 1:
        warnings.append(f"no sound after {facts.audio_duration:.2f} s: silence is assumed to {segments} s")
    return warnings


def _facts(media: MediaInfo, heard: DecodeReport | None, seen: DecodeReport | None, duration: float) -> MediaFacts:
    video = media.video if seen else None
    return MediaFacts(
        path=str(media.path),
        format=media.format,
        container_duration=media.duration,
        duration=duration,
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
