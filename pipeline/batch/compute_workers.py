"""Compute threads, batch sizes and decode workers that suit a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch

from ...extractors.base import Extractor
from ...extractors.cuda_graphs import record_graph
from ...extractors.profiles import get_profile
from ...extractors.sampling import ALL_STREAMS, Stream
from ..decode.process import available_cores
from ..features.compute_lanes import MOST_LANES, Batches, ComputeLanes
from ..inference.extractors import DeviceNetworks, LoadedExtractors
from ..memory import name_option_when_out_of_memory

# Inputs in a batch per second of `--batch-size`. VGGish is nearly all weights, so its batch must be larger.
_PER_SECOND: dict[Stream, int] = {"audio": 4, "visual_2d": 8, "visual_3d": 1, "visual_map": 4}
_MIN_AUDIO_BATCH = 32
_CPU_SECONDS, _GPU_SECONDS = 1, 32  # eight frames of ResNet-152 still fit a core's cache
_CPU_TEACHER_SECONDS, _GPU_TEACHER_SECONDS = 4, 64
# Of a file alone: a usual clip. VGGish is a fifth slower for each than with 32, but three times as fast for one clip.
_FILE_AUDIO_BATCH = 10
_FILE_PICTURES = 4  # where a profile takes a part of them: a usual clip has 20, which batches of 8 pad to 24


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
    return [networks[0]] * min(cores, MOST_LANES)


def torch_threads(cores: int) -> int:
    """Return how many threads PyTorch may use in each compute thread of a CPU."""
    return max(1, cores // min(cores, MOST_LANES))


def batch_sizes(device: torch.device, seconds: int | None = None, profile: str = "llp") -> dict[Stream, int]:
    """Choose the inputs in a batch of each stream.

    Args:
        device: of the networks.
        seconds: of video in a batch; None is what suits the device.
        profile: key in `PROFILES`; those of CLIP and CLAP have one input per second in each stream.

    Returns:
        Stream -> inputs.
    """
    if get_profile(profile).inputs != "networks":
        suitable = _GPU_TEACHER_SECONDS if device.type == "cuda" else _CPU_TEACHER_SECONDS
        return dict.fromkeys(ALL_STREAMS, seconds or suitable)
    seconds = seconds or (_GPU_SECONDS if device.type == "cuda" else _CPU_SECONDS)
    sizes: dict[Stream, int] = {stream: seconds * count for stream, count in _PER_SECOND.items()}
    sizes["audio"] = max(_MIN_AUDIO_BATCH, sizes["audio"])
    return sizes


def file_batches(extractors: LoadedExtractors, *, cores: int | None = None, seconds: int | None = None) -> Batches:
    """Choose how files are computed one by one, as fast as an engine computes many; start the lanes.

    Args:
        extractors: on one device, for this caller alone.
        cores: of the CPU; None is PyTorch's number of threads in the caller's thread.
        seconds: of media in a batch; None is what suits the device.

    Returns:
        Sizes and, on a CPU, lanes, which the caller closes. There are none with torch.compile, which compiles at the
        first batch.
    """
    on_cpu, compiled = extractors.device.type == "cpu", extractors.precision.compiled
    sizes = batch_sizes(extractors.device, seconds, extractors.spec.profile)
    if not on_cpu or compiled:
        return Batches(sizes, pad=compiled)
    if seconds is None:
        sizes["audio"] = min(sizes["audio"], _FILE_AUDIO_BATCH)
        if get_profile(extractors.spec.profile).pictures_per_segment is not None:
            sizes["visual_2d"] = _FILE_PICTURES
    lanes = ComputeLanes(cores or torch.get_num_threads())
    for network in extractors.by_name.values():
        network.expect_callers(lanes.count)
    # oneDNN packs weights for the first batch, OpenVINO compiles for each size: with one size, results do not depend on
    # which file came first.
    return Batches(sizes, pad=True, lanes=lanes)


def decode_workers(device: torch.device, cores: int | None = None) -> int:
    """Return how many decode workers keep a device busy: on a CPU the networks take nearly all of the time."""
    cores = cores or available_cores()
    return max(1, cores - 1) if device.type == "cuda" else max(2, cores // 8)


def warm_up(networks: Sequence[DeviceNetworks], sizes: Mapping[Stream, int]) -> None:
    """Run one batch of zeros through each network, so that compilation at first use is done.

    Raises:
        SetupError: a batch does not fit into memory.
    """
    with name_option_when_out_of_memory("--batch-size"):
        for device, extractors in networks:
            for stream, extractor in extractors.items():
                _compute_zeros(extractor, sizes[stream], device)


def warm_up_lanes(extractors: LoadedExtractors, batches: Batches) -> None:
    """Run one batch of zeros through each network as the batches of files are, so that the first file does not wait.

    Args:
        extractors: on one device.
        batches: of `file_batches`.

    Raises:
        LanesClosedError: the lanes are closed.
    """
    if batches.lanes is None:
        warm_up(extractors.networks, batches.sizes)
        return
    calls = [
        batches.lanes.submit(partial(_compute_zeros, network, batches.sizes[network.stream], extractors.device), rank=0)
        for network in extractors.by_name.values()
    ]
    for call in calls:
        call.result()


def _compute_zeros(extractor: Extractor, size: int, device: torch.device) -> None:
    form = extractor.input_format
    with torch.inference_mode():
        extractor(extractor.prepare(torch.from_numpy(np.zeros((size, *form.shape), form.dtype)).to(device)))


def record_graphs(networks: DeviceNetworks, sizes: Mapping[Stream, int]) -> DeviceNetworks:
    """Record the networks of a GPU as CUDA graphs for batches of these sizes, see `cuda_graphs.record_graph`.

    Those of a CPU are returned as they are.

    Raises:
        SetupError: a batch does not fit into the memory of the GPU.
    """
    device, extractors = networks
    if device.type != "cuda":
        return networks
    with name_option_when_out_of_memory("--batch-size"):
        return device, {stream: record_graph(network, sizes[stream], device) for stream, network in extractors.items()}


def select_streams(networks: DeviceNetworks, streams: Sequence[Stream]) -> DeviceNetworks:
    """Return a device's networks of some streams."""
    device, extractors = networks
    chosen: dict[Stream, Extractor] = {stream: extractors[stream] for stream in streams}
    return device, chosen
