"""Scores that choose the best epoch."""

from __future__ import annotations

import pytest
from avvp.pipeline.evaluation.selection import SELECTIONS, is_better, selection_scores
from avvp.pipeline.metrics import LevelScores, Scores

SCORES = Scores(LevelScores(10, 20, 30, 40, 50), LevelScores(60, 70, 80, 90, 100))


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("segment.type_av", {"best": 40}),
        ("event.audio", {"best": 60}),
        ("event.event_av", {"best": 100}),
        ("mean", {"best": 55}),
        ("last", {"best": 3}),
        ("each_modality", {"audio": 35, "visual": 45}),
    ],
)
def test_scores_that_choose(select: str, expected: dict[str, float]) -> None:
    assert selection_scores(SCORES, select, 3) == expected


def test_every_choice_has_a_score() -> None:
    for select in SELECTIONS:
        assert selection_scores(SCORES, select, 0)
    with pytest.raises(ValueError, match="select is 'segment', not one of"):
        selection_scores(SCORES, "segment", 0)


def test_of_equal_epochs_the_later_is_better_except_for_each_modality() -> None:
    assert is_better(1.0, 1.0, "mean")
    assert not is_better(0.9, 1.0, "mean")
    assert not is_better(1.0, 1.0, "each_modality")
    assert is_better(1.1, 1.0, "each_modality")
