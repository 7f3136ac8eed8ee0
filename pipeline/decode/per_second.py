"""Frames of a video per second, under a profile: the input of the visual networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import Profile
from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..segments import pad_or_trim, segment_count, spread_indices
from .base import FrameReader, Frames
from .container.media_info import MediaInfo
from .container.report import DecodeReport
from .jpeg_frames import JpegFrames
from .options import DecodeOptions, Part
from .readers import build_reader
from .squashed_frames import SquashedFrames


class FramesPerSecond(Protocol):
    """Iterable of (F, H, W, 3) uint8 RGB, one array per second of the part that is decoded; F is the profile's.

    `report` is complete after the iteration. So is `held`, the last second of video that ends before the part.
    """

    @property
    def report(self) -> DecodeReport: ...

    @property
    def held(self) -> Frames | None: ...

    def __iter__(self) -> Iterator[Frames]: ...

    def close(self) -> None: ...


class ExactFrames:
    """The frames of a reader, unchanged; the last second is padded with its last frame."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader

    @property
    def report(self) -> DecodeReport:
        return self._reader.report

    @property
    def held(self) -> Frames | None:
        chunk = self._reader.held
        return None if chunk is None else pad_or_trim(chunk, FRAMES_PER_SEGMENT)

    def __iter__(self) -> Iterator[Frames]:
        for chunk in self._reader:
            yield pad_or_trim(chunk, FRAMES_PER_SEGMENT)

    def close(self) -> None:
        """Do nothing: the decoder ends with the iteration."""


class LlpFrames:
    """The frames that the published program uses: 8T JPEG frames, at even intervals over all of them.

    T is the duration of the longer stream. Video that ends more than a second before the audio would be slowed down
    by that rule; its frames are taken over its own duration. A part of the file has the frames that these seconds have
    among all seconds.
    """

    def __init__(self, frames: JpegFrames, audio_end: float, part: Part) -> None:
        """Choose how many seconds the frames cover.

        Args:
            frames: all JPEG frames of the video; closed by `close`.
            audio_end: seconds of decoded audio, 0 without audio.
            part: the seconds to read.
        """
        self._frames, self._part = frames, part
        video_segments, segments = segment_count(self.report.end), segment_count(max(audio_end, self.report.end))
        self._segments = segments if segments - video_segments <= 1 else video_segments

    @property
    def report(self) -> DecodeReport:
        return self._frames.report

    @property
    def held(self) -> Frames | None:
        return self._frames.read(self._indices()[-1]) if self._segments <= self._part.start else None

    def __iter__(self) -> Iterator[Frames]:
        for second in self._indices()[self._part.start : self._part.end]:
            yield self._frames.read(second)

    def _indices(self) -> NDArray[np.intp]:
        """Return the numbers of the frames, (seconds, 8)."""
        return spread_indices(len(self._frames), self._segments * FRAMES_PER_SEGMENT).reshape(-1, FRAMES_PER_SEGMENT)

    def close(self) -> None:
        """Remove the temporary file."""
        self._frames.close()


def open_seconds(
    media: MediaInfo,
    profile: Profile,
    options: DecodeOptions,
    *,
    audio_end: float,
    report_progress: Callable[[str, float], None],
    on_skip: Callable[[], None],
) -> FramesPerSecond:
    """Open the frames of a file under a profile, second by second.

    Args:
        media: the probed file; it has a video stream.
        profile: `exact` frames, LLP's JPEG frames, or squashed pictures.
        options: decoder, time limit and part of the file.
        audio_end: seconds of decoded audio, 0 without audio; frames that are not `exact` are spaced evenly over them.
        report_progress: called with a stage and the seconds of it that are done.
        on_skip: called often while what lies before the part is skipped.

    Returns:
        An iterable of frames, to be closed.

    Raises:
        MediaError: the JPEG frames cannot be decoded; for other frames, the iteration raises it.
        ValueError: the decoder is unknown.
    """
    if profile.frames == "exact":
        reader = build_reader(
            media,
            options.decoder,
            timeout=options.timeout,
            part=options.part,
            on_skip=on_skip,
            short_side=profile.short_side,
        )
        return ExactFrames(reader)
    if profile.frames == "squashed":
        return SquashedFrames(
            media,
            count=profile.frames_per_segment,
            audio_end=audio_end,
            timeout=options.timeout,
            part=options.part,
            on_skip=on_skip,
        )
    frames = JpegFrames(media, timeout=options.timeout, progress=lambda seconds: report_progress("frames", seconds))
    return LlpFrames(frames, audio_end, options.part)
