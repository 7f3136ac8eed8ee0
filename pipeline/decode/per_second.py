"""The frames of a video second by second, under a profile: what the visual networks are fed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from ...extractors.profiles import Profile
from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..segments import pad_or_trim, segment_count, spread_indices
from .base import DecodeReport, FrameReader, Frames
from .jpeg_frames import JpegFrames
from .options import DecodeOptions
from .probe import MediaInfo
from .readers import build_reader


class FramesPerSecond(Protocol):
    """Iterating gives (8, H, W, 3) uint8 RGB for each second; `report` is complete once it is exhausted."""

    @property
    def report(self) -> DecodeReport: ...

    def __iter__(self) -> Iterator[Frames]: ...

    def close(self) -> None: ...


class ExactFrames:
    """The decoded frames themselves; the last second is completed with its last frame."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader

    @property
    def report(self) -> DecodeReport:
        return self._reader.report

    def __iter__(self) -> Iterator[Frames]:
        for chunk in self._reader:
            yield pad_or_trim(chunk, FRAMES_PER_SEGMENT)

    def close(self) -> None:
        """Nothing is held."""


class LlpFrames:
    """The published rule: 8T of the JPEG pictures, spread evenly over all of them.

    heard: seconds of sound, which count for T. A picture that ends more than a second before the sound would be
    slowed down by the rule; it is spread over its own length.
    """

    def __init__(self, pictures: JpegFrames, heard: float) -> None:
        self._pictures = pictures
        own, whole = segment_count(self.report.end), segment_count(max(heard, self.report.end))
        self._segments = whole if whole - own <= 1 else own

    @property
    def report(self) -> DecodeReport:
        return self._pictures.report

    def __iter__(self) -> Iterator[Frames]:
        picked = spread_indices(len(self._pictures), self._segments * FRAMES_PER_SEGMENT)
        for indices in picked.reshape(-1, FRAMES_PER_SEGMENT):
            yield self._pictures.read(indices)

    def close(self) -> None:
        """Remove the temporary file."""
        self._pictures.close()


def open_seconds(
    media: MediaInfo,
    profile: Profile,
    options: DecodeOptions,
    *,
    audio_end: float,
    report_progress: Callable[[str, float], None],
) -> FramesPerSecond:
    """Open the frames of a file under a profile, second by second.

    Args:
        media: the probed file; it has a video stream.
        profile: `exact` frames or LLP's JPEG frames.
        options: decoder and time limit.
        audio_end: seconds of decoded audio, 0 without audio; LLP's rule spreads the frames over them.
        report_progress: called with a stage and the seconds of it that are done.

    Returns:
        An iterable of frames, to be closed.
    """
    if profile.frames == "exact":
        return ExactFrames(build_reader(media, options.decoder, timeout=options.timeout))
    pictures = JpegFrames(media, timeout=options.timeout, progress=lambda seconds: report_progress("pictures", seconds))
    return LlpFrames(pictures, audio_end)


def check_decoder(profile: Profile, decoder: str) -> None:
    """Raises ValueError where the decoder cannot give what the profile is made of."""
    if profile.frames == "jpeg" and decoder == "decord":
        raise ValueError(f"profile {profile.name!r} is made of ffmpeg's JPEG pictures; decord cannot give them")
