"""How a machine's cores or its GPU are cut into lanes, and how large their batches are."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from ..extractors.base import Extractor
from ..extractors.rates import Stream
from .errors import SetupError

# Inputs in a batch, for each second of `--batch-size`. VGGish is nearly all weights: its batch must be larger.
_PER_SECOND: dict[Stream, int] = {"audio": 4, "visual_2d": 8, "visual_3d": 1}
_SMALLEST_SOUND_BATCH = 32
_CPU_SECONDS, _GPU_SECONDS = 1, 32  # eight pictures of ResNet-152 still fit a core's cache
_MOST_CPU_LANES = 16
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Lane = tuple[torch.device, Mapping[Stream, Extractor]]


def make_lanes(extractors: Mapping[Stream, Extractor], device: torch.device, threads: int | None = None) -> list[Lane]:
    """Lanes for `Engine`; from then on, PyTorch computes with one thread (or a few) in each.

    Two single-thread lanes are faster than one of two threads: no layer ends with one core waiting for the other.
    """
    if device.type == "cuda":
        return [(device, extractors)] * 2  # one copies while the other computes
    cores = threads or available_cores()
    lanes = min(cores, _MOST_CPU_LANES)
    torch.set_num_threads(max(1, cores // lanes))
    return [(device, extractors)] * lanes


def batch_sizes(device: torch.device, seconds: int | None = None) -> dict[Stream, int]:
    """Inputs in a batch of each stream; `seconds` of video, by default what suits the device."""
    chosen = seconds or (_GPU_SECONDS if device.type == "cuda" else _CPU_SECONDS)
    sizes: dict[Stream, int] = {stream: chosen * count for stream, count in _PER_SECOND.items()}
    sizes["audio"] = max(_SMALLEST_SOUND_BATCH, sizes["audio"])
    return sizes


def decode_workers(device: torch.device) -> int:
    """Decoding processes that keep a device busy: on a CPU the networks need nearly all of the time themselves."""
    cores = available_cores()
    return max(1, cores - 1) if device.type == "cuda" else max(2, cores // 8)


def check_precision(precision: str, device: torch.device) -> torch.dtype:
    """Raises SetupError for a precision that is unknown or that the device cannot compute in."""
    if precision not in PRECISIONS:
        raise SetupError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SetupError(f"{device} does not compute in bf16; use fp16 or fp32")
    return PRECISIONS[precision]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
