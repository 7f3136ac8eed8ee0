"""Frames of profile llp: 8 per second through ffmpeg's mjpeg encoder, as the published program writes them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .base import Frames, stack_frames
from .container.media_info import MediaInfo
from .container.opened import library_errors
from .container.outcome import finish_report
from .container.report import DecodeReport
from .mjpeg_encoder import MjpegEncoder, find_images
from .process import DEFAULT_TIMEOUT
from .video_frames import ConstantRate, VideoFrames

_MAX_REPEATS = 10 * FRAMES_PER_SEGMENT  # of a frame that are encoded; further ones reuse the last


class JpegFrames:
    """Decoded JPEG frames that LLP's features are made from: ``ffmpeg -i V -r 8 %06d.jpg`` at default quality.

    Which of them are used depends on their number, so all are first written, compressed, to a temporary file (some
    100 MB for an hour) that exists until `close` is called. `len` is the number of frames. The published program would
    encode a frame that stays for minutes thousands of times. Here it is encoded for ten seconds: after that, ffmpeg's
    rate control changes it no longer.

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
            timeout: seconds that decoding may take, and as much again for every 10 s of media.
            progress: called with the seconds decoded so far.

        Raises:
            MediaError: there is no video stream, no frame can be decoded, or the temporary file cannot be written.
            DecodeTimeoutError: the decoder is too slow.
        """
        if media.video is None:
            raise MediaError(media.path, "has no video stream", "no-streams")
        self.media = media
        self.report = DecodeReport(self.name)
        self._file = tempfile.TemporaryFile(prefix="avvp-frames-")  # noqa: SIM115 - closed by `close`
        self._images: list[int] = []  # for each frame, the number of its JPEG image
        self._latest: tuple[int, Frames] | None = None  # the image that was read last
        try:
            with library_errors(media.path):
                encoded = self._decode(VideoFrames(media, media.video, self.report, timeout), progress)
            self._ranges = find_images(self._file, encoded)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: Sequence[int] | NDArray[np.intp]) -> Frames:
        """Decode frames with PIL.

        Args:
            indices: F frame numbers, each in [0, len).

        Returns:
            (F, H, W, 3) uint8 RGB; a read-only view where all are the same frame.
        """
        frames = [self._read_image(self._images[int(index)]) for index in indices]
        return stack_frames(frames)

    def _read_image(self, number: int) -> Frames:
        if self._latest is None or self._latest[0] != number:
            offset, length = self._ranges[number]
            self._file.seek(offset)
            with Image.open(io.BytesIO(self._file.read(length)), formats=["JPEG"]) as image:
                self._latest = (number, np.asarray(image.convert("RGB")))
        return self._latest[1]

    def _decode(self, frames: VideoFrames, progress: Callable[[float], None] | None) -> int:
        """Decode and encode all frames; return the number of encoded images."""
        rate, shown, encoded = ConstantRate(FRAMES_PER_SEGMENT), None, 0
        aspect = None if self.media.video is None else self.media.video.pixel_aspect
        with MjpegEncoder(self.media.path, self._file.fileno(), pixel_aspect=aspect) as encoder:

            def show(frame: Any, count: int) -> None:
                nonlocal encoded
                distinct = min(count, _MAX_REPEATS)
                for _ in range(distinct):
                    encoder.write(frame)
                self._images += range(encoded, encoded + distinct)
                encoded += distinct
                self._images += [encoded - 1] * (count - distinct)

            for frame in frames:
                before, now = rate.add(frame.time, frame.length)
                if before:
                    show(frame.image if shown is None else shown, before)
                show(frame.image, now)
                shown = frame.image
                if progress is not None and len(self) % FRAMES_PER_SEGMENT == 0:
                    progress(len(self) / FRAMES_PER_SEGMENT)
            finish_report(self.media, self.report, "video", first_error=frames.first_error)
            show(shown, rate.finish())
        if not self._images:
            raise MediaError(self.media.path, "no frames could be decoded")
        return encoded
