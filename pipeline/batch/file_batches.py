"""Batches and lanes for files that are computed one by one: as fast as the engine is for many."""

from __future__ import annotations

import torch

from ..features.compute_lanes import Batches, ComputeLanes
from ..inference.bundle import LoadedExtractors
from .compute_workers import batch_sizes

# Seconds of a usual clip. VGGish is a fifth slower for each than with 32, but three times as fast for one clip.
_AUDIO_BATCH = 10


def file_batches(extractors: LoadedExtractors, *, cores: int | None = None, seconds: int | None = None) -> Batches:
    """Choose how the files of a caller are computed, and start the lanes.

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
        sizes["audio"] = min(sizes["audio"], _AUDIO_BATCH)
    lanes = ComputeLanes(cores or torch.get_num_threads())
    for network in extractors.by_name.values():
        network.expect_callers(lanes.count)
    # oneDNN packs weights for the first batch, OpenVINO compiles for each size: with one size, results do not depend on
    # which file came first.
    return Batches(sizes, pad=True, lanes=lanes)
