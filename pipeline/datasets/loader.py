"""Iterate over batches that threads read ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from .clips import Batch, SplitDataset

_PREFETCHED = 4  # batches; bounds the memory of reading ahead


def iterate_batches(
    clips: SplitDataset, order: Sequence[int] | NDArray[np.int64], batch_size: int, *, pin: bool = False
) -> Iterator[Batch]:
    """Iterate over clips in batches; threads read ahead.

    Args:
        clips: of a split.
        order: indices of the clips.
        batch_size: B; the last batch may be smaller.
        pin: copy the batches to pinned memory, from which a GPU copies asynchronously.

    Yields:
        Batches in the given order, on the CPU.

    Raises:
        DatasetError: features cannot be read.
    """
    chunks = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]

    def load(chunk: Sequence[int] | NDArray[np.int64]) -> Batch:
        batch = clips.batch(chunk)
        return batch.map_tensors(torch.Tensor.pin_memory) if pin else batch

    with ThreadPoolExecutor(_PREFETCHED) as readers:
        waiting: deque[Future[Batch]] = deque()
        try:
            for chunk in chunks:
                waiting.append(readers.submit(load, chunk))
                if len(waiting) > _PREFETCHED:
                    yield _take(waiting, clips)
            while waiting:
                yield _take(waiting, clips)
        finally:
            for future in waiting:
                future.cancel()


def _take(waiting: deque[Future[Batch]], clips: SplitDataset) -> Batch:
    batch = waiting.popleft().result()
    clips.features.release()
    return batch


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the random seed of an epoch: it depends on nothing else, so that a resumed run repeats the epoch."""
    return seed * 100_003 + epoch


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a random permutation of the clips for an epoch.

    Args:
        count: number of clips.
        seed: of the run.
        epoch: from 0.

    Returns:
        (count,) indices.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch))).numpy()
