"""What a machine can do at best: the yardstick for everything that is timed."""

from __future__ import annotations

import time

import torch

_SIZE = 2048
_SECONDS = 0.5


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """FLOP a second of large matrix products, measured for half a second."""
    left, right = (torch.randn(_SIZE, _SIZE, device=device, dtype=dtype) for _ in range(2))
    products, started = 0, 0.0
    while not started or time.perf_counter() - started < _SECONDS:
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if not started:  # the first one warms up
            started = time.perf_counter()
        else:
            products += 1
    return products * 2 * _SIZE**3 / (time.perf_counter() - started)
