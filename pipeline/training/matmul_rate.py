"""Measure the FLOP rate of matrix products, the upper bound for everything that is timed."""

from __future__ import annotations

import time

import torch

_SIZE = 2048
_SECONDS = 0.5


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Measure the rate of large matrix products for half a second.

    Args:
        device: to measure.
        dtype: of the matrices.

    Returns:
        FLOP per second.
    """
    left, right = (torch.randn(_SIZE, _SIZE, device=device, dtype=dtype) for _ in range(2))
    products, started = 0, 0.0
    while not started or time.perf_counter() - started < _SECONDS:
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if not started:  # the first product warms up
            started = time.perf_counter()
        else:
            products += 1
    return products * 2 * _SIZE**3 / (time.perf_counter() - started)
