"""Interface of the frame readers, which sample a video 8 times per second by presentation time.

Sample k is the frame on the screen at ``(k + 1/2) / 8`` s of the file's clock, with rotation metadata applied. Variable
frame rates, gaps and repeated frames all follow from that one rule.

Two readers implement it: FFmpeg's libraries, and decord for comparison and as a fallback.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .container.media_info import MediaInfo, StreamInfo
from .container.report import DecodeReport
from .options import WHOLE, Part
from .process import DEFAULT_TIMEOUT, DecoderProcess

Frames = NDArray[np.uint8]  # (F, H, W, 3) RGB; a single frame is (H, W, 3)


class FrameReader(ABC):
    """Reader of sampled frames: iteration gives chunks, (F, H, W, 3) uint8 RGB with F = 8 except in the last.

    Each chunk is a second of the part that is decoded. Of video that ends before the part, the last chunk is in `held`.

    Memory does not grow with the video: frames that repeat share their memory, and a chunk of one repeated frame is a
    read-only view. Iteration raises MediaError if not a single frame can be decoded and DecodeTimeoutError if the
    decoder is too slow; a decoder that fails later ends the iteration, with a warning in `report`.

    Attributes:
        name: key in `readers.FRAME_READERS`.
        media: the probed file.
        stream: the video stream that is decoded.
        part: the seconds that are decoded.
        held: the last chunk of video that ends before the part, known after the iteration; else None.
        report: complete after the iteration.
    """

    name: ClassVar[str]

    def __init__(
        self,
        media: MediaInfo,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        part: Part = WHOLE,
        on_skip: Callable[[], None] = lambda: None,
        short_side: int | None = None,
    ) -> None:
        """Choose the stream; nothing is decoded yet.

        Args:
            media: the probed file.
            timeout: seconds that decoding may take, and as much again for every 10 s of media.
            part: the seconds to decode.
            on_skip: called often while what lies before the part is skipped.
            short_side: pixels to which the reader may scale larger frames; None for frames as they are.

        Raises:
            MediaError: the file has no video stream.
        """
        if media.video is None:
            raise MediaError(media.path, "has no video stream", "no-streams")
        self.media = media
        self.stream: StreamInfo = media.video
        self.timeout, self.part, self._on_skip = timeout, part, on_skip
        self._short_side = short_side
        self.held: Frames | None = None
        self.report = DecodeReport(self.name)

    @abstractmethod
    def __iter__(self) -> Iterator[Frames]: ...


def read_ppm_frames(process: DecoderProcess) -> Iterator[Frames]:
    """Read frames from a stream of binary PPM images; a truncated image ends it.

    Every image carries its own size, so a stream that changes its resolution cannot shift the pixels.

    Args:
        process: a decoder that writes PPM to its output.

    Yields:
        Frames (H, W, 3) uint8 RGB.
    """
    while process.read_line() == b"P6\n":
        width, height = map(int, process.read_line().split())
        process.read_line()  # the largest value, 255
        frame = np.empty((height, width, 3), np.uint8)
        if process.read_into(frame) < frame.nbytes:
            return
        yield frame


def repeated_chunks(frames: Iterable[tuple[Frames, int]], size: int = FRAMES_PER_SEGMENT) -> Iterator[Frames]:
    """Stack frames into chunks of a size; the last chunk may be shorter.

    Args:
        frames: frames (H, W, 3), and how many times each is shown.
        size: F, frames of a chunk.

    Yields:
        Chunks (F, H, W, 3). A chunk of a single frame is a view of it.
    """
    chunk: Frames | None = None  # made for the second of two different frames
    only: Frames | None = None  # the frame of the chunk while it is the same
    filled = 0
    for frame, count in frames:
        missing = count
        while missing:
            taken = min(missing, size - filled)
            if chunk is None and only is not None and only is not frame:
                chunk = np.empty((size, *frame.shape), np.uint8)
                chunk[:filled] = only
            # Copied at once: eight large frames that are all kept until then take new memory for every second.
            if chunk is not None:
                chunk[filled : filled + taken] = frame
            only, filled, missing = frame, filled + taken, missing - taken
            if filled == size:
                yield chunk if chunk is not None else np.broadcast_to(frame, (filled, *frame.shape))
                chunk, only, filled = None, None, 0
    if only is not None:
        yield chunk[:filled] if chunk is not None else np.broadcast_to(only, (filled, *only.shape))


def is_same_view(first: Frames, second: Frames) -> bool:
    """Return whether two frames are views of the same memory: a frame that repeats need not be read again."""
    return (first.ctypes.data, first.shape, first.strides) == (second.ctypes.data, second.shape, second.strides)


def stack_frames(frames: list[Frames]) -> Frames:
    """Stack frames (H, W, 3) to (F, H, W, 3); a single repeated frame becomes a read-only view of it."""
    if len(frames) > 1 and all(frame is frames[0] for frame in frames):
        return np.broadcast_to(frames[0], (len(frames), *frames[0].shape))
    return np.stack(frames)
