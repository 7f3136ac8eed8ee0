"""Means over groups of rows, computed as the rows come: no more are kept than a group needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class RowPool:
    """Means of the rows of inputs that belong together, such as the pictures of a second. Not thread-safe.

    Groups and rows may come in any order; the means are given in the order of the groups, and do not depend on the
    order of the rows.
    """

    def __init__(self, emit: Callable[[NDArray[np.float32]], None]) -> None:
        """Start with no rows.

        Args:
            emit: called with the mean of each group, (width,), in their order.
        """
        self._emit = emit
        self._groups: deque[Sequence[int]] = deque()
        self._rows: dict[int, NDArray[np.float32]] = {}
        self._kept = 0  # number of the first row that is still needed

    def add_groups(self, groups: NDArray[np.int64]) -> None:
        """Add groups (n, F) of row indices; none is smaller than the last index of an earlier group."""
        self._groups.extend(groups.tolist())
        self._drain()

    def add_rows(self, first: int, rows: NDArray[np.float32]) -> None:
        """Add rows (n, width) with the numbers from `first` on."""
        # Copies: a row of a batch would keep all of it.
        self._rows |= {number: row.copy() for number, row in enumerate(rows, first) if number >= self._kept}
        self._drain()

    def _drain(self) -> None:
        while self._groups and all(number in self._rows for number in self._groups[0]):
            group = self._groups.popleft()
            numbers, counts = np.unique(group, return_counts=True)
            # Sums in float64 are exact enough for a group of equal rows to have their value.
            total = sum(
                count * self._rows[number].astype(np.float64) for number, count in zip(numbers, counts, strict=True)
            )
            self._emit(np.asarray(total / len(group), np.float32))
            for number in range(self._kept, group[-1]):
                self._rows.pop(number, None)
            self._kept = group[-1]
