"""An extractor that computes the rows of inputs in batches, as the inputs come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.sampling import POOLED_STREAMS, Stream
from ..memory import name_option_when_out_of_memory
from .compute_lanes import Batches, LanesClosedError, WaitingInputs
from .row_pool import RowPool

# Batches that take long come first: lanes then end together.
_RANKS: dict[Stream, int] = {"visual_map": 0, "visual_2d": 1, "visual_3d": 2, "audio": 3}
_REPORT_INTERVAL = 0.2  # seconds

Rows = NDArray[np.float32]


class BatchedExtractor:
    """Collects the inputs of one stream of one file, and computes their rows. Not thread-safe.

    Attributes:
        batches: that are full, or the last one.
        batches_done: those that are computed.
    """

    def __init__(
        self,
        extractor: Extractor,
        device: torch.device,
        batches: Batches,
        waiting: WaitingInputs,
        computing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Start with no inputs.

        Args:
            extractor: on `device`.
            device: of the extractor.
            batches: their sizes, and what computes them.
            waiting: the batches of this file that wait for a lane.
            computing: makes the context in which each batch is computed where there are no lanes.
        """
        self._extractor, self._device, self._waiting, self._computing = extractor, device, waiting, computing
        self._size, self._pad, self._lanes = batches.sizes[extractor.stream], batches.pad, batches.lanes
        self._pending: list[NDArray[np.generic]] = []
        self._submitted: deque[Future[Rows]] = deque()
        self._rows: list[Rows] = []
        self._computed = 0  # inputs
        self.batches = self.batches_done = 0
        self._pool: RowPool | None = None
        if extractor.stream in POOLED_STREAMS:
            self._pool = RowPool(lambda row: self._rows.append(row[None]))

    def add_groups(self, groups: NDArray[np.int64]) -> None:
        """Add groups (n, F) of inputs, whose rows are averaged."""
        assert self._pool is not None
        self._pool.add_groups(groups)

    def add(self, inputs: NDArray[np.generic]) -> None:
        """Add inputs (n, *shape); compute every batch that is full."""
        self._pending.extend(inputs)
        while len(self._pending) >= self._size:
            self._compute(self._pending[: self._size])
            del self._pending[: self._size]

    def end(self) -> None:
        """Compute the last batch, which need not be full."""
        if self._pending:
            self._compute(self._pending)
            self._pending = []

    def rows(self, report: Callable[[], None]) -> Rows:
        """Wait for the rows of all inputs.

        Args:
            report: called several times a second meanwhile; its exceptions are raised.

        Returns:
            The rows of all inputs, or of all groups, in their order.

        Raises:
            LanesClosedError: the lanes were closed meanwhile.
        """
        while self._submitted:
            if not wait([self._submitted[0]], timeout=_REPORT_INTERVAL).done:
                report()
                continue
            self._take_next()
        return np.concatenate(self._rows)

    def cancel(self) -> None:
        """Compute no more of the batches that wait for a lane."""
        for future in self._submitted:
            future.cancel()

    def _compute(self, inputs: list[NDArray[np.generic]]) -> None:
        self.batches += 1
        count, stacked = len(inputs), np.stack(inputs)
        if self._pad and count < self._size:
            stacked = np.concatenate([stacked, np.zeros((self._size - count, *stacked.shape[1:]), stacked.dtype)])
        if self._lanes is None:
            with self._computing():
                self._add_rows(self._forward(stacked, count))
            return
        self._waiting.add(stacked.nbytes)
        future = self._lanes.submit(partial(self._forward, stacked, count), rank=_RANKS[self._extractor.stream])
        future.add_done_callback(lambda _: self._waiting.remove(stacked.nbytes))
        self._submitted.append(future)
        while self._submitted and self._submitted[0].done():
            self._take_next()

    def _forward(self, stacked: NDArray[Any], count: int) -> Rows:
        """Compute the rows of the first `count` inputs."""
        with torch.inference_mode(), name_option_when_out_of_memory("--batch-size"):
            batch = self._extractor.prepare(torch.from_numpy(stacked).to(self._device))
            return self._extractor(batch)[:count].float().cpu().numpy()

    def _take_next(self) -> None:
        try:
            self._add_rows(self._submitted.popleft().result())
        except CancelledError:
            raise LanesClosedError("these lanes were closed") from None

    def _add_rows(self, rows: Rows) -> None:
        self.batches_done += 1
        if self._pool is None:
            self._rows.append(rows)
        else:
            self._pool.add_rows(self._computed, rows)
            self._computed += len(rows)
