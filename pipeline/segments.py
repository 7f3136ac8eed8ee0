"""Arithmetic of segments: convert times to segments, samples and windows, and back.

A video of T segments has the seconds 0 to T - 1; segment s is the half-open interval [s, s + 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_MEDIA_SECONDS = 24 * 3600  # longer times are errors in the input; per-second arrays of them would fill the memory
_MIN_COVER = 0.5  # share of a second that an event must cover to count
_ROUNDING = 1e-9  # tolerance for sums of seconds


def segment_count(duration: float) -> int:
    """Return the number of segments of a video.

    A remainder shorter than half a second is dropped. A longer one is a segment, padded with the last frame and with
    silence.

    Args:
        duration: seconds.

    Returns:
        T: the nearest integer, halves rounded up, at least 1.
    """
    return max(1, math.floor(duration + 0.5))


def sample_times(count: int, rate: int) -> NDArray[np.float64]:
    """Return the times of samples 0 to count - 1, in seconds: the midpoints of intervals of 1 / rate."""
    return (np.arange(count) + 0.5) / rate


def shown_frames(frame_times: ArrayLike, times: ArrayLike) -> NDArray[np.intp]:
    """Return which frame is on the screen at each time: the last whose presentation time is earlier.

    Args:
        frame_times: (F,) presentation times, in seconds, ascending.
        times: (n,) seconds. Before the first frame, the first is shown.

    Returns:
        (n,) indices of frames.

    Source:
        With the times of `sample_times`, the rule of ffmpeg's `fps` filter.
    """
    return np.maximum(np.searchsorted(np.asarray(frame_times), np.asarray(times), side="left") - 1, 0)


def sample_count(end: float, rate: int) -> int:
    """Return the number of samples of a stream that ends at `end` seconds: the nearest integer, at least 1."""
    return max(1, samples_before(end, rate))


def samples_before(time: float, rate: int) -> int:
    """Return the number of samples whose midpoints are not later than `time` seconds."""
    return max(0, math.floor(time * rate + 0.5))


def spread_indices(available: int, count: int) -> NDArray[np.intp]:
    """Choose `count` of `available` frames, evenly spaced from the first to the last; frames repeat if there are fewer.

    Args:
        available: number of frames.
        count: number of indices; 8T for a video of T segments.

    Returns:
        (count,) ascending indices.

    Source:
        The published feature extraction of LLP: ``round(linspace(0, available - 1, count))``.
    """
    return np.round(np.linspace(0, available - 1, count)).astype(np.intp)


def pad_or_trim(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Return exactly `count` rows of an array: cut the end, or repeat the last row."""
    missing = count - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows[:count]


def window_starts(length: int, window: int) -> list[int]:
    """Return the first segments of windows that cover a video, neighbours overlapping by at least half.

    Args:
        length: T.
        window: segments of one window.

    Returns:
        Ascending starts; the single start 0 for a video that fits one window.
    """
    if length <= window:
        return [0]
    step = max(1, window // 2)
    starts = list(range(0, length - window, step))
    return [*starts, length - window]


def runs(active: ArrayLike) -> list[tuple[int, int]]:
    """Return maximal runs of True as half-open intervals: ``[0, 1, 1, 0, 1] -> [(1, 3), (4, 5)]``."""
    padded = np.concatenate(([False], np.asarray(active, bool), [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def covered_runs(spans: Sequence[tuple[float, float]], segments: int) -> list[tuple[int, int]]:
    """Return the runs of seconds that the union of some intervals covers by at least half.

    The work grows with the number of intervals, not with their length.

    Args:
        spans: [onset, offset) of each interval, in seconds, in any order; they may overlap.
        segments: T; what lies beyond is cut.

    Returns:
        Maximal half-open intervals of seconds, ascending.
    """
    shares: dict[int, float] = {}  # of the seconds in which an interval begins or ends
    covered: list[tuple[int, int]] = []
    reached = 0.0
    for onset, offset in sorted(spans):
        onset = max(onset, reached)  # noqa: PLW2901 - what an earlier interval covers is counted already
        if min(offset, segments) <= onset:
            continue
        reached = offset
        first, last = math.floor(onset), math.ceil(min(offset, segments)) - 1
        for second in {first, last}:
            share = min(second + 1, offset) - max(second, onset)
            shares[second] = shares.get(second, 0.0) + share
        if last - first > 1:
            covered.append((first + 1, last))
    covered += [(second, second + 1) for second, share in shares.items() if share >= _MIN_COVER - _ROUNDING]
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(covered):
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined
