"""Interface of the frame readers, which sample a video 8 times per second by presentation time.

Sample k is the frame on the screen at ``(k + 1/2) / 8`` s, counted from the container's own time zero, with rotation
metadata applied. Variable frame rates, gaps and repeated frames all follow from that one rule.

Two readers implement it: ffmpeg, and decord for comparison and as a fallback.
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

Frames = NDArray[np.uint8]  # (F, H, W, 3) RGB; a single frame is (H, W, 3)

SLACK = 600  # seconds by which any stream may exceed ten times the container's duration
SHORTFALL = 0.5  # seconds by which the decoded duration may differ from the container's without a warning


@dataclass
class DecodeReport:
    """Outcome of decoding one stream, complete once its reader is exhausted."""

    decoder: str
    decoded: int = 0  # frames, or audio samples
    damaged: int = 0  # frames or packets that could not be decoded, or only with errors
    end: float = 0.0  # seconds from time zero to the end of what was decoded
    warnings: list[str] = field(default_factory=list)


class FrameReader(ABC):
    """Reader of sampled frames: iteration gives chunks, (F, H, W, 3) uint8 RGB with F = 8 except in the last.

    Memory does not grow with the video. Iteration raises MediaError if not a single frame can be decoded and
    DecodeTimeoutError if the decoder hangs; a decoder that fails later ends the iteration, with a warning in `report`.

    Attributes:
        name: key in `readers.FRAME_READERS`.
        media: the probed file.
        stream: the video stream that is decoded.
        report: complete after the iteration.
    """

    name: ClassVar[str]

    def __init__(self, media: MediaInfo, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Choose the stream; nothing is decoded yet.

        Args:
            media: the probed file.
            timeout: seconds without progress after which decoding is stopped.

        Raises:
            MediaError: the file has no video stream.
        """
        if media.video is None:
            raise MediaError(media.path, "has no video stream")
        self.media = media
        self.stream: StreamInfo = media.video
        self.timeout = timeout
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


def chunks(frames: Iterator[Frames]) -> Iterator[Frames]:
    """Stack frames (H, W, 3) into chunks of 8; the last chunk may be shorter."""
    pending: list[Frames] = []
    for frame in frames:
        pending.append(frame)
        if len(pending) == FRAMES_PER_SEGMENT:
            yield np.stack(pending)
            pending = []
    if pending:
        yield np.stack(pending)


def check_length(media: MediaInfo, end: float) -> None:
    """Refuse a stream that lasts longer than a day, or far longer than the container's duration.

    One wrong time stamp can make a frame last for hours, all of which would be computed. The container's duration is
    not a limit for audio-only files, where it is an estimate.

    Args:
        media: the probed file.
        end: seconds from time zero that decoding has reached.

    Raises:
        MediaError: the stream is too long.
    """
    limit = float(MAX_MEDIA_SECONDS)
    if media.duration is not None and media.video is not None:
        limit = min(limit, 10 * media.duration + SLACK)
    if end > limit:
        stated = "" if media.duration is None else f", but the container states {media.duration:.0f} s"
        raise MediaError(media.path, f"its time stamps are damaged: they reach {end / 3600:.1f} hours{stated}")


def warn_if_short(report: DecodeReport, stream: str, duration: float | None) -> None:
    """Add a warning to the report if the decoded stream ends well before the container's duration.

    Args:
        report: of the decoded stream; changed.
        stream: `audio` or `video`, for the message.
        duration: seconds that the container states; None where it states none.
    """
    if duration is not None and duration - report.end > SHORTFALL:
        report.warnings.append(f"the {stream} ends at {report.end:.2f} s; the container states {duration:.2f} s")
