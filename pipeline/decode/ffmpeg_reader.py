"""Frame reader that uses ffmpeg."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .base import DecodeReport, FrameReader, Frames, chunks, read_ppm_frames, warn_if_short
from .ffmpeg import ffmpeg_command
from .ffmpeg_log import FRAME_LINE, FrameLog, check_result, logged_frames
from .probe import MediaInfo, StreamInfo
from .process import DecoderProcess


class FFmpegReader(FrameReader):
    """Frame reader that decodes and samples in one ffmpeg process, which outputs the sampled frames only."""

    name = "ffmpeg"

    def __iter__(self) -> Iterator[Frames]:
        # Video that lasts less than half a sample, such as a still image, is rounded to no frames at all. Only then is
        # the last frame passed on regardless.
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
            # When the frame size changes, ffmpeg would restart the filters, including the clock of `fps`. That is
            # disabled; `scale`, which accepts a change of size, keeps the first size. Otherwise `scale` does nothing.
            frames = logged_frames(self.stream, descriptor, reinit_filter=0)
            width, height = self.stream.shown_size
            # `start_time=0` shows the first frame from time zero on where the video starts after the audio.
            sampled = frames.filter("fps", fps=FRAMES_PER_SEGMENT, start_time=0, eof_action=eof_action)
            options = {"fps_mode": "passthrough", "vcodec": "ppm", "pix_fmt": "rgb24", "f": "image2pipe"}
            output = sampled.filter("scale", width, height).output("pipe:1", **options)
            return ffmpeg_command(output, log_level="verbose")

        log = FrameLog(self.report, self.media, self.stream.frame_rate)
        with DecoderProcess(self.media.path, command, timeout=self.timeout, on_line=log) as process:
            yield from chunks(read_ppm_frames(process))
            check_result(self.media, process, self.report, "frames")
        warn_if_short(self.report, "video", self.media.duration)


def first_frame_time(media: MediaInfo, stream: StreamInfo, timeout: float) -> float:
    """Return the time of a video stream's first frame.

    Args:
        media: the probed file.
        stream: the video stream.
        timeout: seconds without progress after which decoding is stopped.

    Returns:
        Seconds from the container's time zero; 0 where no frame can be decoded.

    Raises:
        DecodeTimeoutError: the decoder hangs.
    """
    times: list[float] = []

    def command(descriptor: int) -> Sequence[str]:
        first = logged_frames(stream, descriptor).output("pipe:1", f="null", **{"frames:v": 1})
        return ffmpeg_command(first, log_level="info")

    def on_line(line: str) -> None:
        if match := FRAME_LINE.match(line):
            times.append(float(match["start"]))

    with DecoderProcess(media.path, command, timeout=timeout, on_line=on_line) as process:
        process.read_line()
        process.finish()
    return min(times, default=0.0)
