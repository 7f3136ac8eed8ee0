"""Frames of a video, sampled 8 times a second by presentation time.

Sample k shows what is on the screen at ``(k + 1/2) / 8`` s, counted from the container's own time zero, with
rotation metadata applied. Variable frame rates, gaps and frames that repeat all follow from that one rule.

Two readers give it, behind one interface: ffmpeg, and decord for comparison and as a way out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from ..segments import MAX_MEDIA_SECONDS
from .probe import MediaInfo, StreamInfo
from .process import DEFAULT_TIMEOUT, DecoderProcess

Frames = NDArray[np.uint8]  # (F, H, W, 3) RGB; a single picture is (H, W, 3)

SLACK = 600  # seconds that a stream may always go on beyond its promise
SHORTFALL = 0.5  # seconds that decoded and promised duration may differ before it is reported


@dataclass
class DecodeReport:
    """What became of one stream. Complete once the reader is exhausted."""

    decoder: str
    decoded: int = 0  # frames, or samples of sound
    damaged: int = 0  # frames or packets that could not be decoded, or only with errors
    end: float = 0.0  # seconds from time zero to the end of what was decoded
    warnings: list[str] = field(default_factory=list)


class FrameReader(ABC):
    """Iterating gives chunks of sampled frames, (F, H, W, 3) uint8 RGB with F = 8 but for the last.

    Memory does not grow with the video. Iteration raises MediaError where not a single frame can be decoded and
    DecodeTimeoutError where the decoder hangs; a decoder that fails later ends the iteration and says so in `report`.
    """

    name: ClassVar[str]

    def __init__(self, media: MediaInfo, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        if media.video is None:
            raise MediaError(media.path, "has no video stream")
        self.media = media
        self.stream: StreamInfo = media.video
        self.timeout = timeout
        self.report = DecodeReport(self.name)

    @abstractmethod
    def __iter__(self) -> Iterator[Frames]: ...


def read_pictures(process: DecoderProcess) -> Iterator[Frames]:
    """The pictures of a stream of binary PPM, (H, W, 3) uint8 RGB; one that is cut off ends it.

    Every picture carries its own size, so a stream that changes its resolution cannot shift the pixels.
    """
    while process.read_line() == b"P6\n":
        width, height = map(int, process.read_line().split())
        process.read_line()  # the largest value, 255
        frame = np.empty((height, width, 3), np.uint8)
        if process.read_into(frame) < frame.nbytes:
            return
        yield frame


def chunks(frames: Iterator[Frames]) -> Iterator[Frames]:
    """Stack frames (H, W, 3) into chunks of 8; the last holds what is left."""
    pending: list[Frames] = []
    for frame in frames:
        pending.append(frame)
        if len(pending) == FRAMES_PER_SEGMENT:
            yield np.stack(pending)
            pending = []
    if pending:
        yield np.stack(pending)


def check_length(media: MediaInfo, end: float) -> None:
    """Raises MediaError where a stream goes on beyond a day, or far beyond the length that the file promises.

    One wrong time stamp can make a frame last for hours, which would be computed second by second. Files of sound
    alone are let off the promise, which is an estimate there.
    """
    limit = float(MAX_MEDIA_SECONDS)
    if media.duration is not None and media.video is not None:
        limit = min(limit, 10 * media.duration + SLACK)
    if end > limit:
        promise = "" if media.duration is None else f", though the file promises {media.duration:.0f} s"
        raise MediaError(media.path, f"its time stamps are damaged: they reach {end / 3600:.1f} hours{promise}")


def warn_if_short(report: DecodeReport, what: str, promised: float | None) -> None:
    """Warn where the decoded stream ends well before the container says that the file does."""
    if promised is not None and promised - report.end > SHORTFALL:
        report.warnings.append(f"{what} ends at {report.end:.2f} s of the {promised:.2f} s that the file promises")
