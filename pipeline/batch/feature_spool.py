"""Temporary files for feature rows of videos that are not complete yet: memory does not grow with a video."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..features.row_pool import RowPool

_BLOCK_BYTES = 32 << 20  # of rows read at a time


class FeatureSpool:
    """Rows (n, width) float32 of one stream in an unnamed temporary file, written in any order by any thread."""

    def __init__(self, width: int) -> None:
        """Create the file; width: values per row."""
        self.width = width
        self._file = tempfile.TemporaryFile(prefix="avvp-rows-")  # noqa: SIM115 - closed by `close`

    def put(self, position: int, rows: NDArray[np.float32]) -> None:
        """Store rows from a position on."""
        content = np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.uint8).data
        offset = position * self.width * 4
        while content:
            written = os.pwrite(self._file.fileno(), content, offset)
            content, offset = content[written:], offset + written

    def blocks(self, order: Sequence[int], block_rows: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the stored rows in an order, up to `block_rows` at a time, or as many as suit the memory.

        Raises ValueError for rows never stored.
        """
        block_rows = block_rows or max(1, _BLOCK_BYTES // (4 * self.width))
        for first in range(0, len(order), block_rows):
            positions = np.asarray(order[first : first + block_rows], np.intp)
            start, stop = int(positions.min()), int(positions.max()) + 1
            block = np.empty((stop - start, self.width), np.float32)
            view, offset = block.reshape(-1).view(np.uint8).data, start * self.width * 4
            while view:
                received = os.preadv(self._file.fileno(), [view], offset)
                if not received:
                    raise ValueError(f"rows {start} to {stop} were never stored")
                view, offset = view[received:], offset + received
            yield block[positions - start]

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class PooledSpool(FeatureSpool):
    """Means of groups of rows; the rows themselves are kept in memory until their group is complete. Thread-safe."""

    def __init__(self, width: int) -> None:
        """Create the file; width: values per row."""
        super().__init__(width)
        self._pool = RowPool(self._store)
        self._stored = 0
        self._lock = threading.Lock()

    def add_groups(self, groups: NDArray[np.int64]) -> None:
        """Add groups (n, F) of positions of rows, see `RowPool`; `blocks` gives their means, numbered from 0."""
        with self._lock:
            self._pool.add_groups(groups)

    def put(self, position: int, rows: NDArray[np.float32]) -> None:
        """Add rows from a position on."""
        with self._lock:
            self._pool.add_rows(position, rows)

    def _store(self, row: NDArray[np.float32]) -> None:
        super().put(self._stored, row[None])
        self._stored += 1
