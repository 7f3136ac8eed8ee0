"""Resize decoded frames.

PIL's and tensor resizing give different pixels; the published features were made with PIL, except those of CLIP.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MAX_ASPECT = 4  # long side to short side, beyond which the crop discards most of a resized frame


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
