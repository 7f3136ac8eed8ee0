"""Frame readers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import MediaError
from .base import FrameReader, Frames
from .container.media_info import MediaInfo
from .decord_reader import DecordReader
from .ffmpeg_reader import CudaReader, FFmpegReader
from .options import WHOLE, Part
from .process import DEFAULT_TIMEOUT


class AutoReader(FrameReader):
    """Frame reader that uses ffmpeg, and decord, with a warning, where ffmpeg cannot decode a single frame."""

    name = "auto"

    def __iter__(self) -> Iterator[Frames]:
        first = FFmpegReader(
            self.media,
            timeout=self.timeout,
            part=self.part,
            on_skip=self._on_skip,
            short_side=self._short_side,
        )
        started = False
        try:
            for chunk in first:
                started, self.report = True, first.report
                yield chunk
            self.report, self.held = first.report, first.held
        except MediaError as error:
            if started:
                raise
            second = DecordReader(self.media, timeout=self.timeout, part=self.part, on_skip=self._on_skip)
            try:
                yield from second
            except MediaError:
                raise error from None  # if both fail, ffmpeg's message is the more useful one
            self.report, self.held = second.report, second.held
            self.report.warnings.append(f"ffmpeg could not decode the video ({error.cause}); decord did")


FRAME_READERS: dict[str, type[FrameReader]] = {
    reader.name: reader for reader in (AutoReader, FFmpegReader, DecordReader, CudaReader)
}


def check_decoder(name: str) -> None:
    """Raise ValueError for a name that no frame reader has."""
    if name not in FRAME_READERS:
        raise ValueError(f"unknown decoder {name!r}; known: {', '.join(FRAME_READERS)}")


def build_reader(
    media: MediaInfo,
    decoder: str = "auto",
    *,
    timeout: float = DEFAULT_TIMEOUT,
    part: Part = WHOLE,
    on_skip: Callable[[], None] = lambda: None,
    short_side: int | None = None,
) -> FrameReader:
    """Build the frame reader of a name.

    Args:
        media: the probed file.
        decoder: key in `FRAME_READERS`.
        timeout: seconds without progress after which decoding is stopped.
        part: the seconds to decode.
        on_skip: called often while what lies before the part is skipped.
        short_side: see `FrameReader`.

    Returns:
        The reader; it decodes when it is iterated.

    Raises:
        ValueError: the name is unknown.
        MediaError: the file has no video stream.
    """
    check_decoder(decoder)
    return FRAME_READERS[decoder](media, timeout=timeout, part=part, on_skip=on_skip, short_side=short_side)
