"""The frame readers by name."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import MediaError
from .base import FrameReader, Frames
from .decord_reader import DecordReader
from .ffmpeg_reader import FFmpegReader
from .probe import MediaInfo
from .process import DEFAULT_TIMEOUT


class AutoReader(FrameReader):
    """ffmpeg, and decord where ffmpeg cannot decode a single frame; falling back is reported as a warning."""

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
                raise error from None  # decord is the way out; ffmpeg's word on the file is the better one
            self.report = second.report
            self.report.warnings.append(f"ffmpeg could not decode the video ({error.cause}); decord did")


FRAME_READERS: dict[str, type[FrameReader]] = {
    reader.name: reader for reader in (AutoReader, FFmpegReader, DecordReader)
}


def build_reader(media: MediaInfo, decoder: str = "auto", *, timeout: float = DEFAULT_TIMEOUT) -> FrameReader:
    """The reader of that name. Raises ValueError for an unknown name, MediaError for media without video."""
    if decoder not in FRAME_READERS:
        raise ValueError(f"unknown decoder {decoder!r}; known: {', '.join(FRAME_READERS)}")
    return FRAME_READERS[decoder](media, timeout=timeout)
