"""Random parameters that follow from a seed and the key names alone, the same on every machine and in any order."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def untrained_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """A state dict of these shapes, scaled so that activations stay finite in deep networks.

    Matrices and kernels: normal with variance 1 / fan-in. Vectors: 1 + 0.1 N for scales, 1 + 0.1 |N| for running
    variances, 0.1 N for the rest. Counters: 0.
    """
    return {key: _values(key, shape, seed) for key, shape in shapes.items()}


def _values(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode(), seed))
    values = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return 1 + 0.1 * values.abs()
    if len(shape) > 1:
        return values / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * values if key.endswith("weight") else 0.1 * values
