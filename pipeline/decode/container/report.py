"""Outcome of decoding one stream, and the limit of its length."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import MediaError
from ...segments import MAX_MEDIA_SECONDS
from .media_info import MediaInfo

SLACK = 600  # seconds by which any stream may exceed ten times the container's duration


@dataclass
class DecodeReport:
    """Outcome of decoding one stream, complete once its reader is exhausted."""

    decoder: str
    decoded: int = 0  # frames, or audio samples
    damaged: int = 0  # frames or packets that are missing, could not be decoded, or only with errors
    start: float = 0.0  # seconds; what is lost before is not reported
    end: float = 0.0  # seconds from time zero to the end of what was decoded
    cut: bool = False  # whether the stream goes on behind `end`, where decoding was to end
    holes: list[tuple[float, float]] = field(default_factory=list)  # seconds from, to; where the stream has nothing
    joins: list[float] = field(default_factory=list)  # seconds at which another recording begins
    container_errors: list[str] = field(default_factory=list)  # what FFmpeg said while it read packets
    stopped: bool = False  # whether the rest of the file could not be read
    track_end: float | None = None  # seconds; where the container ends the presentation of the stream
    warnings: list[str] = field(default_factory=list)

    def cut_at(self, end: float | None) -> None:
        """Note that decoding has reached the time at which it was to end, in seconds, if it has."""
        if end is not None and self.end >= end:
            self.end, self.cut = float(end), True


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
        cause = f"its time stamps are damaged: they reach {end / 3600:.1f} hours{stated}"
        raise MediaError(media.path, cause, "too-long")
