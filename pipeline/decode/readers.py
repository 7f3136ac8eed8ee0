"""Frame readers by name."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import MediaError
from .base import FrameReader, Frames
from .container.media_info import MediaInfo
from .decord_reader import DecordReader
from .ffmpeg_reader import FFmpegReader
from .process import DEFAULT_TIMEOUT


class AutoReader(FrameReader):
    """Frame reader that uses ffmpeg, and decord, with a warning, where ffmpeg cannot decode a single frame."""

    name = "auto"

    def __iter__(self) -> Iterator[Frames]:
        first = FFmpegReader(self.media, timeout=self.timeout)
        started = False
        try:
            for chunk in first:
                started, self.report = True, first.report
                yield chunk
        except MediaError as error:
            if started:
                raise
            second = DecordReader(self.media, timeout=self.timeout)
            try:
                yield from second
            except MediaError:
                raise error from None  # if both fail, ffmpeg's message is the more useful one
            self.report = second.report
            self.report.warnings.append(f"ffmpeg could not decode the video ({error.cause}); decord did")


FRAME_READERS: dict[str, type[FrameReader]] = {
    reader.name: reader for reader in (AutoReader, FFmpegReader, DecordReader)
}


def build_reader(media: MediaInfo, decoder: str = "auto", *, timeout: float = DEFAULT_TIMEOUT) -> FrameReader:
    """Build the frame reader of a name.

    Args:
        media: the probed file.
        decoder: key in `FRAME_READERS`.
        timeout: seconds without progress after which decoding is stopped.

    Returns:
        The reader; it decodes when it is iterated.

    Raises:
        ValueError: the name is unknown.
        MediaError: the file has no video stream.
    """
    if decoder not in FRAME_READERS:
        raise ValueError(f"unknown decoder {decoder!r}; known: {', '.join(FRAME_READERS)}")
    return FRAME_READERS[decoder](media, timeout=timeout)
