"""Resize decoded frames.

PIL's and tensor resizing give different pixels; the published features were made with PIL, except those of CLIP, and
AVE's maps. OpenCV resized their pictures; those of PIL or of torch move them by as much as 39 % of their variation over
time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MAX_ASPECT = 4  # long side to short side, beyond which the crop discards most of a resized frame
_UNIT = 2048  # a weight of one: OpenCV's INTER_RESIZE_COEF_SCALE


class _Taps(NamedTuple):
    """The two neighbours of each output pixel along one axis, and their weights in `_UNIT`."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    first_weight: NDArray[np.int32]
    second_weight: NDArray[np.int32]


def resize(frames: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize frames by PIL's antialiased bilinear filter.

    Args:
        frames: (F, H, W, 3) uint8 RGB.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Returns:
        (F, height, width, 3) uint8.
    """
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        resized[index] = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
    return resized


def resize_and_crop(frames: NDArray[np.uint8], *, short_side: int, crop: int) -> NDArray[np.uint8]:
    """Resize the short side, then crop the central square.

    Args:
        frames: (F, H, W, 3) uint8 RGB.
        short_side: in pixels, at least `crop`.
        crop: side of the square, in pixels.

    Returns:
        (F, crop, crop, 3) uint8.

    Source:
        The rounding of torchvision's Resize and CenterCrop: long side truncated, offsets rounded half to even.
    """
    frames = _trim(frames)
    height, width = frames.shape[1:3]
    long_side = int(short_side * max(width, height) / min(width, height))
    new_width, new_height = (short_side, long_side) if width <= height else (long_side, short_side)
    left, upper = round((new_width - crop) / 2), round((new_height - crop) / 2)
    return resize(frames, new_width, new_height)[:, upper : upper + crop, left : left + crop]


def _trim(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut off the ends of extremely long frames, outside the crop: 1 x 10,000 pixels would be resized to a gigabyte."""
    height, width = frames.shape[1:3]
    limit = _MAX_ASPECT * min(width, height)
    if max(width, height) <= limit:
        return frames
    start = (max(width, height) - limit) // 2
    return frames[:, :, start : start + limit] if width > height else frames[:, start : start + limit]


def interpolate(frame: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Resize a frame to a square by bilinear interpolation without antialiasing.

    The aspect ratio is not kept. Each pixel is interpolated from its four neighbours, pixel centres at halves.

    Args:
        frame: (H, W, 3) uint8 RGB.
        side: of the square, in pixels.

    Returns:
        (side, side, 3) float32 in [0, 1].

    Source:
        The published program, which resizes tensors (torchvision's Resize with antialias off).
    """
    (top, bottom, down), (left, right, across) = (_neighbours(length, side) for length in frame.shape[:2])
    values = frame.astype(np.float32) / np.float32(255)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    return (rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]).astype(np.float32)


def _neighbours(length: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return for each output pixel its two neighbours along one axis and the weight of the second."""
    positions = np.maximum((np.arange(side) + 0.5) * length / side - 0.5, 0)
    first = np.minimum(positions.astype(np.intp), length - 1)
    return first, np.minimum(first + 1, length - 1), (positions - first).astype(np.float32)


def opencv_resize(frames: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize frames as OpenCV's bilinear `resize` does, in integers and bit for bit; the aspect ratio is not kept.

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
