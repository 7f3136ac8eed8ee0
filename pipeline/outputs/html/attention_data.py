"""LEAP's attention, as the page's script draws it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import SetupError

if TYPE_CHECKING:
    from ..plots.attention_maps import AttentionMaps

_LANES = {"fused": "audio_visual"}  # memory of attention -> the lane whose colour it has, where they differ


def attention_data(maps: AttentionMaps, labels: Sequence[str], segments: int) -> dict[str, Any]:
    """Return the field `attention` of the page's data.

    Args:
        maps: attention on the video of the page.
        labels: of its timeline, whose order the classes get.
        segments: of its timeline.

    Returns:
        `labels`, the (C,) classes; `max`, the largest weight, which 255 stands for; `blocks`, for each block `audio`
        and `visual`, or `audio_visual` of fused segments, base64 of (C, T) uint8 in row order.

    Raises:
        SetupError: the maps are of other classes, or of a video of another length.
    """
    if unknown := set(maps.labels).difference(labels):
        raise SetupError(f"the attention has a class that the events lack: {min(unknown)!r}")
    seconds = maps.shape[2]
    if seconds != segments:
        raise SetupError(f"the attention has {seconds} seconds, the events have {segments}: are they of one video?")
    places = {label: index for index, label in enumerate(labels)}
    order = sorted(range(len(maps.labels)), key=lambda index: places[maps.labels[index]])
    by_memory = {_LANES.get(name, name): weights for name, weights in maps.weights().items()}
    largest = float(max(weights.max() for weights in by_memory.values())) or 1.0

    def scaled(weights: NDArray[np.float32]) -> str:
        table = np.round(weights[order] / largest * 255).clip(0, 255).astype(np.uint8)
        return base64.b64encode(table.tobytes()).decode()

    return {
        "labels": [maps.labels[index] for index in order],
        "max": largest,
        "blocks": [
            {name: scaled(weights[block]) for name, weights in by_memory.items()} for block in range(maps.shape[0])
        ],
    }
