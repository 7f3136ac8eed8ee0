"""Timing of programs that take turns, so that other work on the machine slows down all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from avvp.pipeline.training.matmul_rate import matmul_rate

CPU = torch.device("cpu")
_RATE_SAMPLES = 6  # of half a second: the rate of a shared machine varies


def time_call(call: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the seconds that a call takes, work that it queues on a GPU included."""
    _wait_for(device)
    started = time.perf_counter()
    call()
    _wait_for(device)
    return time.perf_counter() - started


def time_in_turns(
    calls: Mapping[str, Callable[[int], object]], rounds: int, device: torch.device = CPU
) -> dict[str, list[float]]:
    """Time each call once per round.

    Args:
        calls: name -> function of the round's number, from 0.
        rounds: how often each is called.
        device: that the calls compute on.

    Returns:
        name -> seconds of each round.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            times[name].append(time_call(lambda call=call, number=number: call(number), device))
    return times


def mean_matmul_rate(device: torch.device = CPU, dtype: torch.dtype = torch.float32, *, smoke: bool = False) -> float:
    """Return the FLOP per second of large matrix products: the mean over three seconds, half a second in smoke mode."""
    return float(np.mean([matmul_rate(device, dtype) for _ in range(1 if smoke else _RATE_SAMPLES)]))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
