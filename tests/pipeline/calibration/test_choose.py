"""Offsets of thresholds from counts of seconds, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from avvp.pipeline.calibration.choose import MIN_SECONDS, OFFSETS, choose_offsets, count_seconds, move_thresholds
from numpy.typing import NDArray

ALL = np.array([True, True])


def counts_of(scores: list[list[float]], truth: list[list[int]], start: float = 0.5) -> NDArray[np.int64]:
    """(G, C, 3) counts of seconds with these z values, (T, C), where a score above its threshold is active."""
    table, active = np.array(scores), np.array(truth, bool)
    probabilities = 1 / (1 + np.exp(-table))
    levels = [move_thresholds(np.full(table.shape[1], start), offset) for offset in OFFSETS]
    return np.stack([count_seconds(probabilities > level, active) for level in levels])


def test_thresholds_move_by_their_logits() -> None:
    moved = move_thresholds(np.array([0.5, 0.75, 0.2]), np.array([1.0, 0.0, -1.0]))
    np.testing.assert_allclose(moved, [1 / (1 + np.exp(-1)), 0.75, 1 / (1 + 4 * np.e)], atol=1e-6)
    assert move_thresholds(np.array([0.1234567891]), 0.0)[0] == 0.1234567891  # unchanged to the last digit
    extremes = move_thresholds(np.array([0.0, 1.0]), 1.0)
    assert 0 < extremes[0] < extremes[1] < 1


def test_seconds_are_counted_by_class() -> None:
    decisions, truth = np.array([[1, 0], [1, 1], [0, 0]], bool), np.array([[1, 1], [0, 1], [1, 0]], bool)
    np.testing.assert_array_equal(count_seconds(decisions, truth), [[1, 1, 1], [1, 0, 1]])


def test_a_class_with_enough_seconds_gets_an_offset_of_its_own() -> None:
    # Class 0 is true above z = 3, with 20 seconds; class 1 above z = 1, with 3: too few.
    scores = [[4.0, 2.0]] * 3 + [[4.0, 0.0]] * (MIN_SECONDS - 3) + [[2.0, 0.0]] * 10
    truth = [[1, 1]] * 3 + [[1, 0]] * (MIN_SECONDS - 3) + [[0, 0]] * 10
    choice = choose_offsets(counts_of(scores, truth), ALL)
    np.testing.assert_array_equal(choice.seconds, [MIN_SECONDS, 3])
    np.testing.assert_array_equal(choice.own, [True, False])
    assert choice.offsets[0] == pytest.approx(3, abs=0.21)  # half-way between 2 and 4
    # Class 1 alone has too few seconds, so both choose the shared offset by their seconds together: at 1 to 2, 10 of 33
    # are wrong; at 2 to 4, 3 are missed.
    assert choice.shared == choice.offsets[1] == pytest.approx(3, abs=0.21)


def test_classes_with_few_seconds_choose_together_where_they_have_enough() -> None:
    few = np.array([True, True, True])
    scores = [[6.0, 2.0, 0.0]] * 11 + [[6.0, 0.0, 2.0]] * 11 + [[4.0, 0.0, 0.0]] * 11
    truth = [[1, 1, 0]] * 11 + [[1, 0, 1]] * 11 + [[0, 0, 0]] * 11
    choice = choose_offsets(counts_of(scores, truth), few)
    np.testing.assert_array_equal(choice.own, [True, False, False])
    assert choice.offsets[0] == pytest.approx(5, abs=0.21)
    assert choice.offsets[1] == choice.offsets[2] == choice.shared == pytest.approx(1, abs=0.21)


def test_classes_that_are_not_annotated_say_nothing_and_get_the_shared_offset() -> None:
    scores = [[4.0, 6.0]] * 30 + [[0.0, 6.0]] * 30
    truth = [[1, 0]] * 30 + [[0, 0]] * 30
    choice = choose_offsets(counts_of(scores, truth), np.array([True, False]))
    np.testing.assert_array_equal(choice.own, [True, False])
    assert choice.offsets[0] == choice.offsets[1] == pytest.approx(2, abs=0.21)


def test_nothing_annotated_changes_nothing() -> None:
    choice = choose_offsets(counts_of([[1.0, 2.0]], [[0, 0]]), ALL)
    assert not choice.offsets.any() and not choice.own.any() and choice.shared == 0


def test_a_class_that_no_offset_finds_keeps_its_threshold() -> None:
    counts = np.zeros((len(OFFSETS), 1, 3), np.int64)
    counts[:, :, 2] = 40  # the rule never finds it
    assert choose_offsets(counts, np.array([True])).offsets == 0
