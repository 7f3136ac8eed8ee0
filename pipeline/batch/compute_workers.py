"""How a machine's cores or its GPUs are cut into lanes, and how large their batches are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ..decode.process import available_cores
from ..inference.bundle import DeviceNetworks

# Inputs in a batch, for each second of `--batch-size`. VGGish is nearly all weights: its batch must be larger.
_PER_SECOND: dict[Stream, int] = {"audio": 4, "visual_2d": 8, "visual_3d": 1}
_SMALLEST_SOUND_BATCH = 32
_CPU_SECONDS, _GPU_SECONDS = 1, 32  # eight pictures of ResNet-152 still fit a core's cache
_MOST_CPU_THREADS = 16


def split_compute_threads(networks: Sequence[DeviceNetworks], threads: int | None = None) -> list[DeviceNetworks]:
    """Lanes for `Engine`; from then on, PyTorch computes with one thread (or a few) in each.

    Two single-thread lanes are faster than one of two threads: no layer ends with one core waiting for the other.
    """
    if networks[0][0].type == "cuda":
        return [*networks] * 2  # on each GPU, one copies while the other computes
    cores = threads or available_cores()
    compute_threads = min(cores, _MOST_CPU_THREADS)
    torch.set_num_threads(max(1, cores // compute_threads))
    return [networks[0]] * compute_threads


def batch_sizes(device: torch.device, seconds: int | None = None) -> dict[Stream, int]:
    """Inputs in a batch of each stream; `seconds` of video, by default what suits the device."""
    chosen = seconds or (_GPU_SECONDS if device.type == "cuda" else _CPU_SECONDS)
    sizes: dict[Stream, int] = {stream: chosen * count for stream, count in _PER_SECOND.items()}
    sizes["audio"] = max(_SMALLEST_SOUND_BATCH, sizes["audio"])
    return sizes


def decode_workers(device: torch.device, cores: int | None = None) -> int:
    """Decoding processes that keep a device busy: on a CPU the networks need nearly all of the time themselves."""
    found = cores or available_cores()
    return max(1, found - 1) if device.type == "cuda" else max(2, found // 8)


def warm_up(networks: Sequence[DeviceNetworks], sizes: Mapping[Stream, int]) -> None:
    """One batch of zeros through each network: what is compiled or laid out at first use, is afterwards."""
    with torch.inference_mode():
        for device, extractors in networks:
            for stream, extractor in extractors.items():
                form = extractor.input_format
                empty = torch.from_numpy(np.zeros((sizes[stream], *form.shape), form.dtype)).to(device)
                extractor(extractor.prepare(empty))


def on_device(networks: DeviceNetworks, streams: Sequence[Stream]) -> DeviceNetworks:
    """Those of some streams alone."""
    device, extractors = networks
    chosen: dict[Stream, Extractor] = {stream: extractors[stream] for stream in streams}
    return device, chosen
