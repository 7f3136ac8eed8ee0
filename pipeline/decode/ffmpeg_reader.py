"""Frame reader that uses FFmpeg's libraries."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from av.codec.hwaccel import HWAccel

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..segments import sample_count, samples_before
from .base import FrameReader, Frames, repeated_chunks, stack_frames
from .container.gpu import find_gpu
from .container.opened import library_errors
from .container.outcome import finish_report
from .container.report import DecodeReport
from .video_frames import RgbConverter, TimedFrame, VideoFrames


class FFmpegReader(FrameReader):
    """Frame reader that converts only the frames that are sampled, each once."""

    name = "ffmpeg"
    _frames: VideoFrames  # of the iteration

    def __iter__(self) -> Iterator[Frames]:
        self.report = DecodeReport(self.name, start=float(self.part.start))
        with library_errors(self.media.path):
            yield from repeated_chunks(self._sampled())

    def _find_gpu(self) -> HWAccel | None:
        """Return the GPU that decodes; None is the CPU."""
        return None

    def _sampled(self) -> Iterator[tuple[Frames, int]]:
        """Yield the frames of the samples of the part, and how many samples each is shown in."""
        first = FRAMES_PER_SEGMENT * self.part.start
        limit = math.inf if self.part.end is None else FRAMES_PER_SEGMENT * self.part.end
        frames = self._frames = VideoFrames(
            self.media, self.stream, self.report, self.timeout, self._on_skip, gpu=self._find_gpu()
        )
        convert, skipped = RgbConverter(self.stream, self._short_side), _LastSecond()
        shown: TimedFrame | None = None
        taken = 0
        for frame in frames:
            if shown is None:
                convert.take_size(frame.image)
            due = int(min(samples_before(frame.time, FRAMES_PER_SEGMENT), limit))
            if due > taken:
                image = (shown or frame).image  # before the first frame appears, it is used
                if due > first:
                    yield convert(image), due - max(taken, first)
                else:
                    skipped.add(image, taken, due)
                    self._on_skip()
                taken = due
            shown = frame
            if self.part.end is not None and frame.time >= self.part.end:
                break
        self.report.cut_at(self.part.end)
        finish_report(self.media, self.report, "video", first_error=frames.first_error)
        # Video that lasts less than half a sample, such as a still image, is one sample nevertheless.
        total = sample_count(self.report.end, FRAMES_PER_SEGMENT)
        if shown is not None and total > max(taken, first):
            yield convert(shown.image), total - max(taken, first)
        elif shown is not None and total <= first:
            skipped.add(shown.image, taken, total)
            self.held = stack_frames(
                [pixels for image, count in skipped.frames() for pixels in [convert(image)] * count]
            )


class CudaReader(FFmpegReader):
    """Frame reader that decodes on an NVIDIA GPU; streams that it cannot decode are decoded by the CPU, with a warning.

    The GPU decodes the same pictures as the CPU from intact files. Their conversion to RGB differs in roundings.
    """

    name = "cuda"

    def __iter__(self) -> Iterator[Frames]:
        yield from super().__iter__()
        decoded, on_gpu = self._frames.report.decoded, self._frames.on_gpu
        if on_gpu < decoded:
            share = f" {decoded - on_gpu} of {decoded} frames of" if on_gpu else ""
            self.report.warnings.append(f"the GPU cannot decode{share} this {self.stream.codec} video; the CPU did")

    def _find_gpu(self) -> HWAccel:
        return find_gpu(self.media.path)


class _LastSecond:
    """The frames of the last second of what was skipped."""

    def __init__(self) -> None:
        self._shown: deque[tuple[Any, int, int]] = deque()  # picture, and its samples [from, to)

    def add(self, image: Any, start: int, stop: int) -> None:
        """Add the picture that is shown in the samples [start, stop)."""
        if stop > start:
            self._shown.append((image, start, stop))
            while self._shown[0][2] <= self._first:
                self._shown.popleft()

    @property
    def _first(self) -> int:
        """Number of the first sample of the second that the last sample is in."""
        last = self._shown[-1][2] - 1
        return last - last % FRAMES_PER_SEGMENT

    def frames(self) -> list[tuple[Any, int]]:
        """Return the pictures of the last second, and in how many of its samples each is shown."""
        return [(image, stop - max(start, self._first)) for image, start, stop in self._shown]
