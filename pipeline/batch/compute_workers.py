"""Compute threads, batch sizes and decode workers that suit a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...extractors.base import Extractor
from ...extractors.cuda_graphs import record_graph
from ...extractors.profiles import get_profile
from ...extractors.sampling import ALL_STREAMS, Stream
from ..decode.process import available_cores
from ..inference.bundle import DeviceNetworks

# Inputs in a batch per second of `--batch-size`. VGGish is nearly all weights, so its batch must be larger.
_PER_SECOND: dict[Stream, int] = {"audio": 4, "visual_2d": 8, "visual_3d": 1, "visual_map": 4}
_MIN_AUDIO_BATCH = 32
_CPU_SECONDS, _GPU_SECONDS = 1, 32  # eight frames of ResNet-152 still fit a core's cache
_CPU_TEACHER_SECONDS, _GPU_TEACHER_SECONDS = 4, 64
_MAX_CPU_THREADS = 16


def thread_networks(networks: Sequence[DeviceNetworks], cores: int) -> list[DeviceNetworks]:
    """Choose the compute threads of an engine: two per GPU, or one per core of a CPU.

    Two single-threaded networks are faster than one with two threads: no layer ends with one core waiting for the
    other. PyTorch must then compute with `torch_threads(cores)` threads.

    Args:
        networks: of each device.
        cores: to be used on a CPU.

    Returns:
        Device and networks of each thread.
    """
    if networks[0][0].type == "cuda":
        return [*networks] * 2  # on each GPU, one copies while the other computes
    return [networks[0]] * min(cores, _MAX_CPU_THREADS)


def torch_threads(cores: int) -> int:
    """Return how many threads PyTorch may use in each compute thread of a CPU."""
    return max(1, cores // min(cores, _MAX_CPU_THREADS))


def batch_sizes(device: torch.device, seconds: int | None = None, profile: str = "llp") -> dict[Stream, int]:
    """Choose the inputs in a batch of each stream.

    Args:
        device: of the networks.
        seconds: of video in a batch; None is what suits the device.
        profile: key in `PROFILES`; those of CLIP and CLAP have one input per second in each stream.

    Returns:
        Stream -> inputs.
    """
    if get_profile(profile).inputs == "teachers":
        suitable = _GPU_TEACHER_SECONDS if device.type == "cuda" else _CPU_TEACHER_SECONDS
        return dict.fromkeys(ALL_STREAMS, seconds or suitable)
    seconds = seconds or (_GPU_SECONDS if device.type == "cuda" else _CPU_SECONDS)
    sizes: dict[Stream, int] = {stream: seconds * count for stream, count in _PER_SECOND.items()}
    sizes["audio"] = max(_MIN_AUDIO_BATCH, sizes["audio"])
    return sizes


def decode_workers(device: torch.device, cores: int | None = None) -> int:
    """Return how many decode workers keep a device busy: on a CPU the networks take nearly all of the time."""
    cores = cores or available_cores()
    return max(1, cores - 1) if device.type == "cuda" else max(2, cores // 8)


def warm_up(networks: Sequence[DeviceNetworks], sizes: Mapping[Stream, int]) -> None:
    """Run one batch of zeros through each network, so that compilation at first use is done."""
    with torch.inference_mode():
        for device, extractors in networks:
            for stream, extractor in extractors.items():
                form = extractor.input_format
                zeros = torch.from_numpy(np.zeros((sizes[stream], *form.shape), form.dtype)).to(device)
                extractor(extractor.prepare(zeros))


def record_graphs(networks: DeviceNetworks, sizes: Mapping[Stream, int]) -> DeviceNetworks:
    """Record the networks of a GPU as CUDA graphs for batches of these sizes, see `cuda_graphs.record_graph`.

    Those of a CPU are returned as they are.
    """
    device, extractors = networks
    if device.type != "cuda":
        return networks
    return device, {stream: record_graph(network, sizes[stream], device) for stream, network in extractors.items()}


def select_streams(networks: DeviceNetworks, streams: Sequence[Stream]) -> DeviceNetworks:
    """Return a device's networks of some streams."""
    device, extractors = networks
    chosen: dict[Stream, Extractor] = {stream: extractors[stream] for stream in streams}
    return device, chosen
