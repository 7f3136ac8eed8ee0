"""Batches read ahead of the training step that uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from .clips import Batch, SplitDataset

_AHEAD = 4  # batches; with the batch size, all the memory that reading takes


def iterate_batches(
    clips: SplitDataset, order: Sequence[int] | NDArray[np.int64], batch_size: int, *, pin: bool = False
) -> Iterator[Batch]:
    """The clips of `order` in batches, the last one smaller; threads read ahead, results come in order.

    pin: put them in memory that a GPU copies from while it computes. Raises DatasetError as `SplitDataset.batch` does.
    """
    chunks = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]

    def load(chunk: Sequence[int] | NDArray[np.int64]) -> Batch:
        batch = clips.batch(chunk)
        return batch.map_tensors(torch.Tensor.pin_memory) if pin else batch

    with ThreadPoolExecutor(_AHEAD) as readers:
        waiting: deque[Future[Batch]] = deque()
        try:
            for chunk in chunks:
                waiting.append(readers.submit(load, chunk))
                if len(waiting) > _AHEAD:
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
    """What an epoch's chances follow from, so that a resumed run repeats them: the seed and the epoch alone."""
    return seed * 100_003 + epoch


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of an epoch's clips."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch))).numpy()
