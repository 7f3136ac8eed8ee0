"""Means of rows that come in any order."""

from __future__ import annotations

import itertools

import numpy as np
from avvp.pipeline.features.row_pool import RowPool

ROWS = np.random.default_rng(4).standard_normal((6, 3)).astype(np.float32)
GROUPS = np.array([[0, 1, 1, 2], [2, 2, 2, 2], [3, 4, 5, 5]])


def test_means_by_hand_whatever_the_order_of_the_rows() -> None:
    wide = ROWS.astype(np.float64)
    expected = [(wide[0] + 2 * wide[1] + wide[2]) / 4, wide[2], (wide[3] + wide[4] + 2 * wide[5]) / 4]
    first: list[np.ndarray] = []
    for order in itertools.permutations(range(6)):
        means: list[np.ndarray] = []
        pool = RowPool(means.append)
        for number in order[:3]:
            pool.add_rows(number, ROWS[number : number + 1])
        pool.add_groups(GROUPS[:2])
        for number in order[3:]:
            pool.add_rows(number, ROWS[number : number + 1])
        pool.add_groups(GROUPS[2:])
        first = first or means
        np.testing.assert_array_equal(means, first)  # to the bit
        assert not [number for number in pool._rows if number < 5]
    np.testing.assert_allclose(first, expected, rtol=1e-6)
    np.testing.assert_array_equal(first[1], ROWS[2])  # the mean of equal rows has their value


def test_rows_that_no_group_needs_any_more_are_dropped() -> None:
    means: list[np.ndarray] = []
    pool = RowPool(means.append)
    for second in range(100):
        pool.add_rows(4 * second, ROWS[:4])
        pool.add_groups(np.arange(4 * second, 4 * second + 4)[None])
        assert len(pool._rows) <= 1
    assert len(means) == 100
