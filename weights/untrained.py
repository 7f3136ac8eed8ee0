"""Random parameters that depend only on a seed and the key names: equal on every machine, in any order."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def untrained_state(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return random parameters, scaled so that activations stay finite in deep networks.

    Matrices and kernels are normal with variance 1 / fan-in. With N standard normal, vectors are 1 + 0.1 N for scales,
    1 + 0.1 |N| for running variances, 0.1 N for the rest. Counters are 0.

    Args:
        shapes: key -> shape of each tensor.
        seed: the same seed gives the same tensors.

    Returns:
        Key -> tensor, float32 (int64 for counters).
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
