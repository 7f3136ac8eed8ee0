"""Frames by ffmpeg: exact pixels for the `clean` profile, the published JPEG pictures for `llp`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .base import DecodeReport, FrameReader, Frames, chunks, read_pictures, warn_if_short
from .ffmpeg import ffmpeg_command
from .ffmpeg_log import _FRAME, FrameLog, _logged_frames, check_result
from .probe import MediaInfo, StreamInfo
from .process import DecoderProcess


class FFmpegReader(FrameReader):
    """Sampling and decoding in one ffmpeg process, which hands over only the frames that are kept."""

    name = "ffmpeg"

    def __iter__(self) -> Iterator[Frames]:
        # Video that lasts less than half a sample, a still picture say, comes to nothing by rounding. There, and there
        # alone, the last frame is passed on all the same.
        for eof_action in ("round", "pass"):
            self.report = DecodeReport(self.name)
            sampled = self._sample(eof_action)
            first = next(sampled, None)
            if first is not None:
                yield first
                yield from sampled
                return
        raise MediaError(self.media.path, "no frames could be sampled: all lie before the start of the video")

    def _sample(self, eof_action: str) -> Iterator[Frames]:
        def command(descriptor: int) -> Sequence[str]:
            # When the picture changes its size, ffmpeg would start the filters, and the clock of `fps`, anew: that is
            # switched off, and `scale`, which can bear it, keeps to the first size. Otherwise it does nothing.
            frames = _logged_frames(self.stream, descriptor, reinit_filter=0)
            width, height = self.stream.shown_size
            # `start_time=0` shows the first frame from time zero on where the video starts after the sound.
            sampled = frames.filter("fps", fps=FRAMES_PER_SEGMENT, start_time=0, eof_action=eof_action)
            options = {"fps_mode": "passthrough", "vcodec": "ppm", "pix_fmt": "rgb24", "f": "image2pipe"}
            output = sampled.filter("scale", width, height).output("pipe:1", **options)
            return ffmpeg_command(output, log_level="verbose")

        log = FrameLog(self.report, self.media, self.stream.frame_rate)
        with DecoderProcess(self.media.path, command, timeout=self.timeout, on_line=log) as process:
            yield from chunks(read_pictures(process))
            check_result(self.media, process, self.report, "frames")
        warn_if_short(self.report, "the video", self.media.duration)


def first_frame_time(media: MediaInfo, stream: StreamInfo, timeout: float) -> float:
    """When a video stream's first frame appears, in seconds from the container's time zero."""
    times: list[float] = []

    def command(descriptor: int) -> Sequence[str]:
        first = _logged_frames(stream, descriptor).output("pipe:1", f="null", **{"frames:v": 1})
        return ffmpeg_command(first, log_level="info")

    def note(line: str) -> None:
        if match := _FRAME.match(line):
            times.append(float(match["start"]))

    with DecoderProcess(media.path, command, timeout=timeout, on_line=note) as process:
        process.read_line()
        process.finish()
    return min(times, default=0.0)
