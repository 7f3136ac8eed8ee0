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
from .ffmpeg_log import FrameLog, _logged_frames, check_result
from .probe import MediaInfo, StreamInfo
from .process import DEFAULT_TIMEOUT, DecoderProcess


class JpegFrames:
    """The pictures that LLP's features were made from: ``ffmpeg -i V -r 8 %06d.jpg`` at default quality.

    Which of them are used depends on how many there are, so they wait, compressed, in a temporary file (some 100 MB
    for an hour) until `close` is called. `len` is their number, `report` what became of the stream. progress: called
    with the seconds decoded so far.
    """

    name = "ffmpeg"

    def __init__(
        self,
        media: MediaInfo,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if media.video is None:
            raise MediaError(media.path, "has no video stream")
        self.media = media
        self.report = DecodeReport(self.name)
        self._spool = tempfile.TemporaryFile(prefix="avvp-pictures-")  # noqa: SIM115 - closed by `close`
        self._places: list[tuple[int, int]] = []
        try:
            self._fill(media.video, timeout, progress)
        except OSError as error:
            self._spool.close()
            folder = tempfile.gettempdir()
            raise MediaError(media.path, f"its pictures cannot be kept in {folder}: {error.strerror}") from error
        except BaseException:
            self._spool.close()
            raise

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: Sequence[int] | NDArray[np.intp]) -> Frames:
        """Those pictures, decoded by PIL: (F, H, W, 3) uint8 RGB."""
        return np.stack([self._decode(int(index)) for index in indices])

    def _decode(self, index: int) -> Frames:
        offset, length = self._places[index]
        self._spool.seek(offset)
        with Image.open(io.BytesIO(self._spool.read(length)), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))

    def _fill(self, stream: StreamInfo, timeout: float, progress: Callable[[float], None] | None) -> None:
        def command(descriptor: int) -> Sequence[str]:
            options = {"r": FRAMES_PER_SEGMENT, "fps_mode": "cfr", "vcodec": "mjpeg", "f": "mpjpeg"}
            return ffmpeg_command(_logged_frames(stream, descriptor).output("pipe:1", **options), log_level="verbose")

        log = FrameLog(self.report, self.media, stream.frame_rate)
        with DecoderProcess(self.media.path, command, timeout=timeout, on_line=log) as process:
            while (picture := _read_multipart(process)) is not None:
                self._places.append((self._spool.tell(), len(picture)))
                self._spool.write(picture)
                if progress is not None and len(self) % FRAMES_PER_SEGMENT == 0:
                    progress(len(self) / FRAMES_PER_SEGMENT)
            check_result(self.media, process, self.report, "frames")
        if not self._places:
            raise MediaError(self.media.path, "no frames could be decoded")
        warn_if_short(self.report, "the video", self.media.duration)


def _read_multipart(process: DecoderProcess) -> bytes | None:
    """The next part of a multipart stream whose parts state their length; None at its end."""
    length = None
    while (line := process.read_line()) != b"\r\n" or length is None:
        if not line:
            return None
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    part = np.empty(length, np.uint8)
    return part.tobytes() if process.read_into(part) == length else None
