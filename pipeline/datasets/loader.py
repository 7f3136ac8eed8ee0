"""Iterate over batches that threads read ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .clips import Batch, SplitDataset

Indices: TypeAlias = "Sequence[int] | NDArray[np.int64]"  # of clips
_PREFETCHED = 4  # batches; bounds the memory of reading ahead


def iterate_batches(clips: SplitDataset, order: Indices, batch_size: int, *, pin: bool = False) -> Generator[Batch]:
    """Iterate over clips in batches; threads read ahead.

    Args:
        clips: of a split.
        order: indices of the clips.
        batch_size: B; the last batch may be smaller.
        pin: copy the batches to pinned memory, from which a GPU copies asynchronously.

    Returns:
        Batches in the given order, on the CPU.

    Raises:
        DatasetError: features cannot be read.
    """
    chunks = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    return load_batches(clips, chunks, pin=pin)


def load_batches(clips: SplitDataset, chunks: Iterable[Indices], *, pin: bool = False) -> Generator[Batch]:
    """Load batches of given clips; threads read ahead.

    Args:
        clips: of a split.
        chunks: indices of the clips of each batch.
        pin: as for `iterate_batches`.

    Yields:
        Batches in the given order, on the CPU.

    Raises:
        DatasetError: features cannot be read.
    """

    def load(chunk: Indices) -> Batch:
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
