"""Frames of profile llp: 8 per second through ffmpeg's mjpeg encoder, as the published program writes them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .base import DecodeReport, Frames, warn_if_short
from .ffmpeg import ffmpeg_command
from .ffmpeg_log import FrameLog, check_result, logged_frames
from .probe import MediaInfo, StreamInfo
from .process import DEFAULT_TIMEOUT, DecoderProcess


class JpegFrames:
    """Decoded JPEG frames that LLP's features are made from: ``ffmpeg -i V -r 8 %06d.jpg`` at default quality.

    Which of them are used depends on their number, so all are first written, compressed, to a temporary file (some
    100 MB for an hour) that exists until `close` is called. `len` is the number of frames.

    Attributes:
        media: the probed file.
        report: outcome of decoding, complete after construction.
    """

    name = "ffmpeg"

    def __init__(
        self,
        media: MediaInfo,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Decode the whole video to the temporary file.

        Args:
            media: the probed file.
            timeout: seconds without progress after which decoding is stopped.
            progress: called with the seconds decoded so far.

        Raises:
            MediaError: there is no video stream, no frame can be decoded, or the temporary file cannot be written.
            DecodeTimeoutError: the decoder hangs.
        """
        if media.video is None:
            raise MediaError(media.path, "has no video stream")
        self.media = media
        self.report = DecodeReport(self.name)
        self._file = tempfile.TemporaryFile(prefix="avvp-frames-")  # noqa: SIM115 - closed by `close`
        self._ranges: list[tuple[int, int]] = []  # offset and length of each JPEG image in the file
        try:
            self._decode(media.video, timeout, progress)
        except OSError as error:
            self._file.close()
            folder = tempfile.gettempdir()
            raise MediaError(media.path, f"its frames cannot be written to {folder}: {error.strerror}") from error
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._ranges)

    def read(self, indices: Sequence[int] | NDArray[np.intp]) -> Frames:
        """Decode frames with PIL.

        Args:
            indices: F frame numbers, each in [0, len).

        Returns:
            (F, H, W, 3) uint8 RGB.
        """
        return np.stack([self._read_frame(int(index)) for index in indices])

    def _read_frame(self, index: int) -> Frames:
        offset, length = self._ranges[index]
        self._file.seek(offset)
        with Image.open(io.BytesIO(self._file.read(length)), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))

    def _decode(self, stream: StreamInfo, timeout: float, progress: Callable[[float], None] | None) -> None:
        def command(descriptor: int) -> Sequence[str]:
            options = {"r": FRAMES_PER_SEGMENT, "fps_mode": "cfr", "vcodec": "mjpeg", "f": "mpjpeg"}
            return ffmpeg_command(logged_frames(stream, descriptor).output("pipe:1", **options), log_level="verbose")

        log = FrameLog(self.report, self.media, stream.frame_rate)
        with DecoderProcess(self.media.path, command, timeout=timeout, on_line=log) as process:
            while (image := _read_multipart(process)) is not None:
                self._ranges.append((self._file.tell(), len(image)))
                self._file.write(image)
                if progress is not None and len(self) % FRAMES_PER_SEGMENT == 0:
                    progress(len(self) / FRAMES_PER_SEGMENT)
            check_result(self.media, process, self.report, "frames")
        if not self._ranges:
            raise MediaError(self.media.path, "no frames could be decoded")
        warn_if_short(self.report, "video", self.media.duration)


def _read_multipart(process: DecoderProcess) -> bytes | None:
    """Read the next part of a multipart stream whose parts state their length; None at its end."""
    length = None
    while (line := process.read_line()) != b"\r\n" or length is None:
        if not line:
            return None
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    part = np.empty(length, np.uint8)
    return part.tobytes() if process.read_into(part) == length else None
