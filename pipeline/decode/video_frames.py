"""Decoded frames of a video with their times, at a constant rate, and converted to RGB as a player shows them."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av.codec.hwaccel
import av.sidedata.sidedata
import av.video.frame
import av.video.reformatter
import numpy as np
from PIL import Image

from .base import Frames
from .container.demux import StreamFrames
from .container.gpu import GPU_FORMAT
from .container.media_info import MediaInfo, StreamInfo
from .container.report import DecodeReport, check_length

_EXTRA_BITS = 16  # below a tick of the output, which ffmpeg keeps of a time stamp
_NUDGE = 1 / 2**17  # ticks by which ffmpeg moves time stamps off exact midpoints
_HOLE = 0.5  # seconds without a frame after the end of the one before
_DEFAULT_RATE = 25.0  # frames per second that ffmpeg writes where a file states none
_DISPLAY_MATRIX = struct.Struct("=9i")


@dataclass(frozen=True)
class TimedFrame:
    """One decoded frame.

    Attributes:
        time: seconds on the file's clock at which it appears.
        length: seconds that it lasts, where nothing follows.
        image: the decoded picture.
    """

    time: float
    length: float
    image: av.video.frame.VideoFrame


class VideoFrames:
    """All frames of the selected video stream of a file, in the order of presentation; iterated once.

    Attributes:
        report: outcome; `decoded`, `end` and `holes` grow during the iteration.
        rate: frames per second that ffmpeg writes by default; known from the first frame on.
        latest: seconds at which the latest frame appears.
        on_gpu: number of the frames that a GPU has decoded.
    """

    def __init__(
        self,
        media: MediaInfo,
        stream: StreamInfo,
        report: DecodeReport,
        timeout: float,
        on_skip: Callable[[], None] = lambda: None,
        *,
        gpu: av.codec.hwaccel.HWAccel | None = None,
    ) -> None:
        """Choose a stream; nothing is opened yet. The arguments are those of `StreamFrames`.

        Where the report begins later than the file, frames before it are left out, except the first frame and the one
        that is shown when the report begins.
        """
        self._media, self._stream = media, stream
        self._decoded = StreamFrames(media, stream, report, timeout, on_skip, gpu=gpu)
        self.report = report
        self.rate, self.latest, self.on_gpu = _DEFAULT_RATE, 0.0, 0

    @property
    def first_error(self) -> str:
        """The first error that FFmpeg reported; empty if there was none."""
        return self._decoded.first_error

    def __iter__(self) -> Iterator[TimedFrame]:
        report, spacing = self.report, 1 / self._stream.frame_rate if self._stream.frame_rate else 0.0
        previous = None
        for image in self._decoded:
            time = report.end if image.time is None else image.time
            if previous is None:
                self.rate = float(self._decoded.opened.guessed_rate or _DEFAULT_RATE)
            else:
                if time < previous.time - _HOLE:  # arrives when its moment has passed
                    report.damaged += time >= report.start
                    continue
                time = max(time, previous.time)
            length = float(image.duration * image.time_base) if image.duration else spacing
            if previous is not None:
                ended = max(report.start, previous.time + max(previous.length, spacing))
                if time - ended > _HOLE:
                    report.holes.append((ended, time))
            report.decoded += 1
            self.on_gpu += image.format.name == GPU_FORMAT
            report.end = max(report.end, time + length)
            check_length(self._media, report.end)
            previous, self.latest = TimedFrame(time, length, image), time
            yield previous


class ConstantRate:
    """Which frames a constant rate shows: each frame gives repetitions of the one before and of itself.

    Source:
        ``video_sync_process`` of ffmpeg's command line program.
    """

    def __init__(self, rate: float) -> None:
        """Start before the first frame.

        Args:
            rate: frames per second of the output.
        """
        self._rate = rate
        self._next = 0  # number of the next frame of the output
        self._repeats: deque[int] = deque([0, 0, 0], maxlen=3)  # of the frame before, at the last three frames

    def add(self, time: float, length: float) -> tuple[int, int]:
        """Take the next frame.

        Args:
            time: seconds at which it appears.
            length: seconds that it lasts.

        Returns:
            How often the frame before and this frame are shown now.
        """
        ticks = round(time * self._rate * 2**_EXTRA_BITS) / 2**_EXTRA_BITS
        if ticks != round(ticks):
            ticks += math.copysign(_NUDGE, ticks)
        duration = length * self._rate
        early = ticks - self._next
        late = early + duration
        if early < 0 < late:  # it has begun already
            late = duration + early
            early = 0.0
        before, count = 0, 1
        if late < -1.1:
            count = 0
        elif late > 1.1:
            count = round(late)
            if early > 1.1:
                before = round(early - 0.6)
        before = min(before, count)
        self._repeats.append(before)
        self._next += count
        return before, count - before

    def finish(self) -> int:
        """Return how often the last frame is repeated at the end: the median of the last three repetitions."""
        return sorted(self._repeats)[1]


class RgbConverter:
    """Conversion of frames to RGB in square pixels, rotated; frames of another size are scaled to that of the first."""

    def __init__(self, stream: StreamInfo, short_side: int | None = None) -> None:
        """Prepare the conversion.

        Args:
            stream: its pixel aspect is applied.
            short_side: pixels to which larger frames are scaled, by averaging; None for frames as they are.
        """
        self._short_side = short_side
        self._aspect = stream.pixel_aspect or 1
        self._size: tuple[int, int] | None = None
        self._interpolation = av.video.reformatter.Interpolation.BICUBIC
        self._reformatter = av.video.reformatter.VideoReformatter()

    def take_size(self, image: av.video.frame.VideoFrame) -> None:
        """Let later frames have the size of this one."""
        width, height = max(1, round(image.width * self._aspect)), image.height
        shortest = min(width, height)
        if self._short_side is not None and shortest > self._short_side:
            # The size that `resize_and_crop` would choose, so that it has nothing left to resize.
            width, height = (int(self._short_side * length / shortest) for length in (width, height))
            self._interpolation = av.video.reformatter.Interpolation.BILINEAR  # an average over what is left out
        self._size = (width, height)

    def __call__(self, image: av.video.frame.VideoFrame) -> Frames:
        """Convert a frame.

        Args:
            image: the decoded picture.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        if self._size is None:
            self.take_size(image)
        assert self._size is not None
        width, height = self._size
        converted = self._reformatter.reformat(
            image, width, height, "rgb24", interpolation=self._interpolation, threads=1
        )
        turns, mirrored = orientation(image)
        pixels: Frames = converted.to_ndarray().astype(np.uint8, copy=False)
        return np.ascontiguousarray(np.rot90(pixels[::-1] if mirrored else pixels, turns))


def show_frame(pixels: Frames, stream: StreamInfo) -> Frames:
    """Show a frame that another library decoded, in square pixels and rotated, as `RgbConverter` does.

    Args:
        pixels: (H, W, 3) uint8 RGB, as stored.
        stream: its pixel aspect and rotation.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if stream.pixel_aspect not in {None, 1}:
        height, width = pixels.shape[:2]
        image = Image.fromarray(pixels).resize((max(1, round(width * float(stream.pixel_aspect or 1))), height))
        pixels = np.asarray(image)
    return np.ascontiguousarray(np.rot90(pixels, round(stream.rotation / 90)))


def orientation(image: av.video.frame.VideoFrame) -> tuple[int, bool]:
    """Read how a player turns a frame.

    Args:
        image: a decoded picture.

    Returns:
        Quarter turns against the clock, and whether the frame is first mirrored top to bottom. Other angles are
        rounded to quarter turns.
    """
    kind = av.sidedata.sidedata.Type.DISPLAYMATRIX
    # Not `image.side_data`: the frame keeps that, and it the frame, so that only the garbage collector frees them.
    side_data: Any = av.sidedata.sidedata.SideDataContainer(image)  # pyright: ignore[reportCallIssue] - a gap in stubs
    data = side_data.get(kind)
    if data is None:
        return 0, False
    a, b, _, c, d, *_ = _DISPLAY_MATRIX.unpack(bytes(data)[: _DISPLAY_MATRIX.size])
    mirrored = a * d - b * c < 0
    if mirrored:  # the matrix without the mirror in front of it
        c, d = -c, -d
    angle = np.degrees(np.arctan2(-b, a)) if a or b else 0.0
    return round(float(angle) / 90) % 4, mirrored
