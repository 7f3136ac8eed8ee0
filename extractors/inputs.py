"""What a network is fed: decoded media reduced to one compact array for each input. NumPy and PIL alone, so that
processes which only decode need no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .mel import EXAMPLE_FRAMES, MEL_BANDS, log_mel
from .resize import resize, resize_and_crop
from .sampling import FRAMES_PER_SEGMENT, Stream


@dataclass(frozen=True)
class InputFormat:
    """One kind of network input. `reduce` turns decoded media into N of them, (N, *shape):

    - visual_2d: frames (N, H, W, 3) uint8 RGB
    - visual_3d: frames (8N, H, W, 3) uint8 RGB
    - audio: seconds of mono sound (N, 16000) float in [-1, 1]
    """

    name: str
    stream: Stream
    shape: tuple[int, ...]
    dtype: type[np.generic]
    reduce: Callable[[NDArray[Any]], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of one input."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def _picture(frames: NDArray[Any]) -> NDArray[np.uint8]:
    return resize_and_crop(cast("NDArray[np.uint8]", frames), short_side=256, crop=224)


def _clip(frames: NDArray[Any]) -> NDArray[np.uint8]:
    return resize(cast("NDArray[np.uint8]", frames), 112, 112).reshape(-1, FRAMES_PER_SEGMENT, 112, 112, 3)


def _log_mel(seconds: NDArray[Any]) -> NDArray[np.float32]:
    return log_mel(seconds)[:, :EXAMPLE_FRAMES]


# Short side to 256, the central square of 224.
PICTURE = InputFormat("picture", "visual_2d", (224, 224, 3), np.uint8, _picture)
# Squashed to 112 x 112 without a crop, 8 consecutive frames.
CLIP = InputFormat("clip", "visual_3d", (FRAMES_PER_SEGMENT, 112, 112, 3), np.uint8, _clip)
# The first 96 of a second's 98 frames of log-mel.
LOG_MEL = InputFormat("log_mel", "audio", (EXAMPLE_FRAMES, MEL_BANDS), np.float32, _log_mel)

INPUT_FORMATS = {form.name: form for form in (LOG_MEL, PICTURE, CLIP)}
