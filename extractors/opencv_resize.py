"""Squash pictures as OpenCV's bilinear `resize` does, in integers and bit for bit; NumPy only.

AVE's published maps were computed of pictures that OpenCV resized. Pictures of PIL or of torch move the features, by as
much as 39 % of their variation over time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_UNIT = 2048  # a weight of one: OpenCV's INTER_RESIZE_COEF_SCALE


class _Taps(NamedTuple):
    """The two neighbours of each output pixel along one axis, and their weights in `_UNIT`."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    first_weight: NDArray[np.int32]
    second_weight: NDArray[np.int32]


def opencv_resize(frames: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize frames by bilinear interpolation without antialiasing; the aspect ratio is not kept.

    Args:
        frames: (F, H, W, 3) uint8.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Returns:
        (F, height, width, 3) uint8.

    Source:
        OpenCV's ``resize(..., interpolation=INTER_LINEAR)`` of 8-bit pictures: weights of 11 bits, interpolated
        horizontally first, then vertically, where intermediate results lose 4 and 16 bits.
    """
    across, down = _taps(frames.shape[2], width, columns=True), _taps(frames.shape[1], height, columns=False)
    needed = np.unique(np.concatenate([down.first, down.second]))  # of a large frame, most rows are not read
    upper, lower = np.searchsorted(needed, down.first), np.searchsorted(needed, down.second)
    resized = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    for index, frame in enumerate(frames):
        rows = frame[needed]
        mixed = rows[:, across.first] * across.first_weight[:, None]
        mixed += rows[:, across.second] * across.second_weight[:, None]
        mixed >>= 4
        top = (mixed[upper] * down.first_weight[:, None, None]) >> 16
        top += (mixed[lower] * down.second_weight[:, None, None]) >> 16
        resized[index] = (top + 2) >> 2
    return resized


@lru_cache(maxsize=32)
def _taps(length: int, size: int, *, columns: bool) -> _Taps:
    """Return the neighbours and weights for `size` pixels made of `length`."""
    positions = ((np.arange(size) + 0.5) * (length / size) - 0.5).astype(np.float32)  # OpenCV computes them in float
    first = np.floor(positions).astype(np.intp)
    shares = positions - first.astype(np.float32)
    if columns:  # at an edge, a column has one neighbour; a row has the same one twice, which may round otherwise
        shares[(first < 0) | (first >= length - 1)] = 0
    weights = [np.rint(share * np.float32(_UNIT)).astype(np.int32) for share in (1 - shares, shares)]
    return _Taps(first.clip(0, length - 1), (first + 1).clip(0, length - 1), *weights)
