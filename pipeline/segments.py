"""Seconds and indices: the one place that turns times into segments, samples and windows, and back.

A video of T segments has seconds 0 .. T-1; segment s is the half-open interval [s, s + 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MIN_COVER = 0.5  # share of a second from which on an event counts as being in it
_ROUNDING = 1e-9  # of sums of seconds


def segment_count(duration: float) -> int:
    """T of a video of `duration` seconds: the nearest whole number, halves up, at least 1.

    A tail shorter than half a second is left out; a longer one is a segment of its own, completed by the last
    frame and by silence.
    """
    return max(1, math.floor(duration + 0.5))


def sample_times(count: int, rate: int) -> NDArray[np.float64]:
    """Times of samples 0 .. count-1, in seconds: the middles of intervals of 1 / rate."""
    return (np.arange(count) + 0.5) / rate


def shown_frames(frame_times: ArrayLike, times: ArrayLike) -> NDArray[np.intp]:
    """Which frame is on the screen at each time: the last one that appeared before it.

    frame_times: presentation times in ascending order, seconds. Before the first frame appears, the first is shown.
    With the times of `sample_times` this is the rule of ffmpeg's `fps` filter.
    """
    return np.maximum(np.searchsorted(np.asarray(frame_times), np.asarray(times), side="left") - 1, 0)


def sample_count(end: float, rate: int) -> int:
    """How many samples a stream has that ends at `end` seconds: the nearest number, at least 1."""
    return max(1, math.floor(end * rate + 0.5))


def spread_indices(available: int, wanted: int) -> NDArray[np.intp]:
    """``round(linspace(0, available - 1, wanted))``: the published rule that picks 8T of n pictures."""
    return np.round(np.linspace(0, available - 1, wanted)).astype(np.intp)


def pad_or_trim(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Exactly `count` rows along the first axis: the tail cut, or the last row held."""
    missing = count - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows[:count]


def window_starts(length: int, window: int) -> list[int]:
    """First segments of windows that cover `length` segments, each overlapping the one before by at least half.

    A video that fits one window has the single start 0.
    """
    if length <= window:
        return [0]
    step = max(1, window // 2)
    starts = list(range(0, length - window, step))
    return [*starts, length - window]


def runs(active: ArrayLike) -> list[tuple[int, int]]:
    """Maximal runs of True as half-open intervals: ``[0, 1, 1, 0, 1] -> [(1, 3), (4, 5)]``."""
    padded = np.concatenate(([False], np.asarray(active, bool), [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def covered_seconds(spans: Sequence[tuple[float, float]], segments: int) -> NDArray[np.bool_]:
    """(T,): the seconds that intervals, overlapping ones counted once, cover by at least half."""
    starts = np.arange(segments)
    shares = np.zeros(segments)
    reached = -math.inf
    for onset, offset in sorted(spans):
        onset = max(onset, reached)  # noqa: PLW2901 - what an earlier one covers is counted
        if offset > onset:
            shares += np.clip(np.minimum(starts + 1, offset) - np.maximum(starts, onset), 0, 1)
            reached = offset
    return shares >= _MIN_COVER - _ROUNDING
