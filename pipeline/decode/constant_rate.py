"""Which frames a constant frame rate shows, and how often: ffmpeg's ``-r RATE -fps_mode cfr``, for profile llp."""

from __future__ import annotations

import math
from collections import deque

_EXTRA_BITS = 16  # below a tick of the output, which ffmpeg keeps of a time stamp
_NUDGE = 1 / 2**17  # ticks by which ffmpeg moves time stamps off exact midpoints


class ConstantRate:
    """Choice of frames for a constant rate: each frame gives repetitions of the one before and of itself.

    Source:
        ``video_sync_process`` of ffmpeg's command line program.
    """

    def __init__(self, rate: int) -> None:
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
