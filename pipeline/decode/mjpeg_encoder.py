"""ffmpeg's mjpeg encoder, run as the published program runs it, on frames that are already decoded."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av.error
import av.video.format
import av.video.frame
import av.video.plane
import av.video.reformatter
import numpy as np

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .ffmpeg import ffmpeg_command
from .video_frames import orientation

_MAX_LOG = 1 << 16  # bytes of the log that are read
_FULL_RANGE = 2  # FFmpeg's number of the colour range 0 to 255
_COMMON_FORMAT = "yuv444p"
_TURNS = {1: "cclock", 3: "clock"}  # ffmpeg's names of quarter turns against the clock


class MjpegEncoder:
    """Encoder whose JPEG images go to an open file, as parts of a multipart stream. A context manager.

    Frames are encoded at their own size and in their own colour format; what the encoder converts is what the
    published program's ffmpeg converts. Frames of another size or format take those of the first.
    """

    def __init__(self, path: Path, descriptor: int, *, pixel_aspect: Fraction | None) -> None:
        """Prepare; ffmpeg is started by the first frame.

        Args:
            path: the media file, for messages.
            descriptor: of the file that receives the images.
            pixel_aspect: of the frames. It is only written into the images, but changes the quality that ffmpeg's
                rate control chooses.
        """
        self._path, self._descriptor, self._pixel_aspect = path, descriptor, pixel_aspect
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._format = ""
        self._size = (0, 0)
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._last: tuple[av.video.frame.VideoFrame, bytes] | None = None

    def __enter__(self) -> MjpegEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if kind is not None:
            self._process.kill()
        try:
            self._finish(failed=kind is not None)
        finally:
            if self._log is not None:
                self._log.close()

    def write(self, image: av.video.frame.VideoFrame) -> None:
        """Encode a frame.

        Args:
            image: a decoded picture.

        Raises:
            MediaError: the image cannot be written, for example because the disk is full.
        """
        if self._last is None or self._last[0] is not image:
            self._last = (image, self._raw(image))
        if self._process is None:
            self._start(image)
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(self._last[1])
        except BrokenPipeError:
            self._finish(failed=False)

    def _raw(self, image: av.video.frame.VideoFrame) -> bytes:
        if not self._format:
            self._size, self._format = (image.width, image.height), image.format.name
        if (image.width, image.height, image.format.name) != (*self._size, self._format):
            image = self._convert(image)
        if image.format.is_planar and len(image.planes) == len(image.format.components):
            return b"".join(map(_plane_bytes, image.planes, image.format.components))
        try:
            return np.ascontiguousarray(image.to_ndarray()).tobytes()
        except (AssertionError, ValueError):  # a packed format that NumPy has no layout for
            self._format = _COMMON_FORMAT
            return self._raw(image)

    def _convert(self, image: av.video.frame.VideoFrame) -> av.video.frame.VideoFrame:
        bicubic = av.video.reformatter.Interpolation.BICUBIC
        return self._reformatter.reformat(image, *self._size, self._format, interpolation=bicubic)

    def _start(self, image: av.video.frame.VideoFrame) -> None:
        import ffmpeg

        width, height = self._size
        options: dict[str, Any] = {"pix_fmt": self._format, "s": f"{width}x{height}", "r": FRAMES_PER_SEGMENT}
        if image.color_range == _FULL_RANGE:
            options["color_range"] = "pc"
        frames: Any = ffmpeg.input("pipe:", f="rawvideo", protocol_whitelist="pipe", **options)
        if self._pixel_aspect is not None:
            frames = frames.filter("setsar", f"{self._pixel_aspect.numerator}/{self._pixel_aspect.denominator}")
        turns, mirrored = orientation(image)
        if mirrored:
            frames = frames.filter("vflip")
        if turns == 2:
            frames = frames.filter("hflip").filter("vflip")
        elif turns:
            frames = frames.filter("transpose", _TURNS[turns])
        output = frames.output(f"pipe:{self._descriptor}", vcodec="mjpeg", f="mpjpeg", fps_mode="passthrough")
        self._log = tempfile.TemporaryFile(prefix="avvp-log-")  # noqa: SIM115 - closed with the encoder
        self._process = subprocess.Popen(
            ffmpeg_command(output, log_level="error"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=(self._descriptor,),
            start_new_session=True,
        )

    def _finish(self, *, failed: bool) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        status = self._process.wait()
        if status and not failed:
            assert self._log is not None
            self._log.seek(0)
            lines = self._log.read(_MAX_LOG).decode("utf-8", "replace").strip().splitlines()
            reason = lines[0].rpartition("] ")[2] if lines else f"exit status {status}"
            folder = tempfile.gettempdir()
            raise MediaError(self._path, f"its frames cannot be written to {folder}: {reason}", "disk-full")


def _plane_bytes(plane: av.video.plane.VideoPlane, component: av.video.format.VideoFormatComponent) -> bytes:
    """Return the rows of a plane without the padding between them."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width * ((component.bits + 7) // 8)].tobytes()


def find_images(file: IO[bytes], count: int) -> list[tuple[int, int]]:
    """Find the images of a multipart stream whose parts state their length.

    Args:
        file: what `MjpegEncoder` has written.
        count: number of images.

    Returns:
        Offset and length of each image.

    Raises:
        ValueError: the stream is shorter.
    """
    file.seek(0, os.SEEK_SET)
    ranges: list[tuple[int, int]] = []
    length = None
    while len(ranges) < count:
        line = file.readline()
        if not line:
            raise ValueError(f"{len(ranges)} images instead of {count}")
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        elif line == b"\r\n" and length is not None:
            ranges.append((file.tell(), length))
            file.seek(length, os.SEEK_CUR)
            length = None
    return ranges
