"""Decoded frames to network input, as PIL does it. PIL and tensor resizing differ; the published path used PIL."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MAX_ASPECT = 4  # long side to short side, beyond which a resized picture is mostly thrown away


def resize(frames: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """(F, H, W, 3) -> (F, height, width, 3), PIL's antialiased bilinear."""
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        resized[index] = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))
    return resized


def resize_and_crop(frames: NDArray[np.uint8], *, short_side: int, crop: int) -> NDArray[np.uint8]:
    """Short side to `short_side`, then the central square: (F, H, W, 3) -> (F, crop, crop, 3).

    With the rounding of torchvision's Resize and CenterCrop: the long side truncated, offsets rounded half to even.
    """
    frames = _trim(frames)
    height, width = frames.shape[1:3]
    long_side = int(short_side * max(width, height) / min(width, height))
    new_width, new_height = (short_side, long_side) if width <= height else (long_side, short_side)
    left, upper = round((new_width - crop) / 2), round((new_height - crop) / 2)
    return resize(frames, new_width, new_height)[:, upper : upper + crop, left : left + crop]


def _trim(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the ends of extremely long pictures, which the crop does not show: 1 x 10,000 would become a gigabyte."""
    height, width = frames.shape[1:3]
    limit = _MAX_ASPECT * min(width, height)
    if max(width, height) <= limit:
        return frames
    start = (max(width, height) - limit) // 2
    return frames[:, :, start : start + limit] if width > height else frames[:, start : start + limit]
