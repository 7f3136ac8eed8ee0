"""Frame reader that uses FFmpeg's libraries."""

from __future__ import annotations

from collections.abc import Iterator

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..segments import sample_count, samples_before
from .base import FrameReader, Frames, repeated_chunks
from .container.opened import library_errors
from .container.outcome import finish_report
from .container.report import DecodeReport
from .video_frames import RgbConverter, VideoFrames


class FFmpegReader(FrameReader):
    """Frame reader that converts only the frames that are sampled, each once."""

    name = "ffmpeg"

    def __iter__(self) -> Iterator[Frames]:
        self.report = DecodeReport(self.name)
        with library_errors(self.media.path):
            yield from repeated_chunks(self._sampled())

    def _sampled(self) -> Iterator[tuple[Frames, int]]:
        frames, convert = VideoFrames(self.media, self.stream, self.report, self.timeout), RgbConverter(self.stream)
        shown, taken = None, 0
        for frame in frames:
            due = samples_before(frame.time, FRAMES_PER_SEGMENT)
            if shown is not None and due > taken:
                yield convert(shown), due - taken
                taken = due
            shown = frame.image
            if taken == 0 and due > 0:  # before the first frame appears, the first one is used
                yield convert(shown), due
                taken = due
        finish_report(self.media, self.report, "video", first_error=frames.first_error)
        # Video that lasts less than half a sample, such as a still image, is one sample nevertheless.
        total = sample_count(self.report.end, FRAMES_PER_SEGMENT)
        if shown is not None and total > taken:
            yield convert(shown), total - taken
