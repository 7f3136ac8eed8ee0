"""Rows of features that wait on disk until their video is complete: memory does not grow with the video."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class FeatureSpool:
    """Rows (n, width) float32 of one stream, written in any order, in a temporary file that has no name."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._file = tempfile.TemporaryFile(prefix="avvp-rows-")  # noqa: SIM115 - closed by `close`

    def put(self, position: int, rows: NDArray[np.float32]) -> None:
        """Store rows from this position on. Any thread may."""
        content = np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.uint8).data
        offset = position * self.width * 4
        while content:
            written = os.pwrite(self._file.fileno(), content, offset)
            content, offset = content[written:], offset + written

    def blocks(self, order: Sequence[int], at_once: int = 4096) -> Iterator[NDArray[np.float32]]:
        """The stored rows in this order, so many at a time."""
        for first in range(0, len(order), at_once):
            some = np.asarray(order[first : first + at_once], np.intp)
            start, stop = int(some.min()), int(some.max()) + 1
            block = np.empty((stop - start, self.width), np.float32)
            view, offset = block.reshape(-1).view(np.uint8).data, start * self.width * 4
            while view:
                received = os.preadv(self._file.fileno(), [view], offset)
                if not received:
                    raise ValueError(f"rows {start} to {stop} were never stored")
                view, offset = view[received:], offset + received
            yield block[some - start]

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
