"""Container and streams of a media file, and the choice of the streams to decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from ...descriptions import describe
from ...text import escape


@dataclass(frozen=True)
class StreamInfo:
    """One audio or video stream, as the headers describe it."""

    index: int  # FFmpeg's number of the stream
    kind: Literal["video", "audio"]
    codec: str
    default: bool  # marked as the stream that players select
    width: int = 0  # pixels, before rotation
    height: int = 0
    rotation: float = 0.0  # degrees by which a player rotates the frames
    pixel_aspect: Fraction | None = None  # width / height of a pixel, before rotation; None where it is not stated
    frame_rate: float | None = None  # per second
    sample_rate: int = 0  # Hz; 0 where the headers do not state it
    channels: str = ""  # FFmpeg's name of the layout: "mono", "stereo", "5.1", ...
    programmes: frozenset[int] = frozenset()  # of a broadcast multiplex, to which the stream belongs
    problem: str = ""  # why the stream cannot be decoded, where the headers tell

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the frames as a player shows them, in square pixels and after rotation."""
        width, height = max(1, round(self.width * (self.pixel_aspect or 1))), self.height
        quarter_turn = round(self.rotation / 90) % 2 == 1
        return (height, width) if quarter_turn else (width, height)


@dataclass(frozen=True, repr=False)
class MediaInfo:
    """Container and streams of a media file, as its headers describe them."""

    path: Path
    format: str  # FFmpeg's names of the container, comma-separated
    duration: float | None  # seconds from `start` to the end; None where the container does not state it
    start: float  # seconds; time zero of the file's clock in the container's own time stamps
    streams: tuple[StreamInfo, ...]
    long_look: bool = False  # whether the streams were found only beyond FFmpeg's usual look at the file

    def __repr__(self) -> str:
        lines = []
        for stream in self.streams:
            kind = f"{stream.width} x {stream.height}" if stream.kind == "video" else f"{stream.sample_rate} Hz"
            lines.append(
                f"{stream.index}: {stream.kind} {stream.codec}, {kind}{', decoded' * (stream in self.selected)}"
            )
        duration = "unknown duration" if self.duration is None else f"{self.duration:.2f} s"
        return describe(f"MediaInfo of {escape(self.path)}: {self.format}, {duration}", lines, more="streams")

    @property
    def video(self) -> StreamInfo | None:
        """The video stream to decode.

        One that can be decoded first, then a default stream, then the largest frames, then the lowest index.
        """
        candidates = [stream for stream in self.streams if stream.kind == "video"]
        return max(candidates, key=lambda s: (not s.problem, s.default, s.width * s.height, -s.index), default=None)

    @property
    def audio(self) -> StreamInfo | None:
        """The audio stream to decode, of the same programme as the video stream.

        One that can be decoded first, then a default stream, then one that is not mono, then the lowest index.
        The layout affects the choice only: all layouts are mixed down.
        """
        return max(
            self.alternatives(), key=lambda s: (not s.problem, s.default, s.channels != "mono", -s.index), default=None
        )

    def alternatives(self) -> list[StreamInfo]:
        """Return the audio streams of the same programme as the video stream."""
        video = self.video
        audio = (stream for stream in self.streams if stream.kind == "audio")
        return [stream for stream in audio if video is None or _together(stream, video)]

    @property
    def selected(self) -> tuple[StreamInfo, ...]:
        """The streams to decode."""
        return tuple(stream for stream in (self.video, self.audio) if stream is not None)

    def other_programmes(self) -> Sequence[int]:
        """Return the numbers of programmes to which none of the selected streams belongs, sorted."""
        every = frozenset[int]().union(*(stream.programmes for stream in self.streams))
        used = frozenset[int]().union(*(stream.programmes for stream in self.selected))
        return sorted(every - used)


def _together(first: StreamInfo, second: StreamInfo) -> bool:
    """Return whether two streams share a programme; streams without one belong to all."""
    return not first.programmes or not second.programmes or bool(first.programmes & second.programmes)
