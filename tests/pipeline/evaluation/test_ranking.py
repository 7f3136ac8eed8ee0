"""AP and AUROC: hand-computed numbers, scikit-learn, and rankings of all classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from avvp.pipeline.evaluation.ranking import RankingEvaluation, area_under_roc, average_precision, rank_classes
from sklearn.metrics import average_precision_score, roc_auc_score


def test_average_precision_by_hand() -> None:
    # Precision at the two true seconds is 1/1 and 2/3; each is half of the recall.
    assert average_precision([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]) == pytest.approx((1 + 2 / 3) / 2)
    # Seconds of one score are taken together: recall jumps from 0 to 1 at precision 1/2.
    assert average_precision([0.5, 0.5], [1, 0]) == pytest.approx(0.5)
    assert average_precision([0.5, 0.5], [0, 1]) == pytest.approx(0.5)


def test_area_by_hand() -> None:
    # Of the 2 x 2 pairs three are right.
    assert area_under_roc([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0]) == pytest.approx(0.75)
    assert area_under_roc([0.5, 0.5, 0.5], [1, 0, 0]) == pytest.approx(0.5)


def test_nothing_can_be_said_without_both_kinds_of_seconds() -> None:
    assert math.isnan(average_precision([0.5, 0.4], [0, 0]))
    assert average_precision([0.5, 0.4], [1, 1]) == 1
    assert math.isnan(area_under_roc([0.5, 0.4], [0, 0]))
    assert math.isnan(area_under_roc([0.5, 0.4], [1, 1]))
    assert math.isnan(average_precision([], []))


def test_both_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        count = random.integers(2, 60)
        truth, scores = random.random(count) > 0.6, np.round(random.random(count), random.integers(1, 4))
        if truth.any() and not truth.all():
            assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
            assert area_under_roc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_the_joint_score_is_the_smaller_and_means_leave_out_classes_that_do_not_occur() -> None:
    audio = [np.array([[0.9, 0.2], [0.1, 0.3]]), np.array([[0.5, 0.1]])]
    visual = [np.array([[0.4, 0.2], [0.6, 0.3]]), np.array([[0.5, 0.9]])]
    heard = [np.array([[1, 0], [0, 0]], bool), np.array([[0, 0]], bool)]
    seen = [np.array([[1, 0], [1, 0]], bool), np.array([[0, 0]], bool)]
    found = rank_classes({"audio": audio, "visual": visual}, {"audio": heard, "visual": seen}, ("a", "b"))
    assert found["audio"]["a"] == (1, 100, 100)
    # Seen scores .4, .6, .5 of which the first two are true: precision 1 and 2/3.
    assert found["visual"]["a"].average_precision == pytest.approx(100 * (1 + 2 / 3) / 2)
    # Joint scores are .4, .1 and .5, and the first is true: it is the second in rank.
    assert found["audio_visual"]["a"].average_precision == pytest.approx(50)
    evaluation = RankingEvaluation("val", "x", 2, 3, found)
    assert evaluation.mean("audio") == (1, 100, 100)  # class b is never heard
    assert evaluation.to_dict()["classes"]["audio"]["b"] == {"seconds": 0, "average_precision": None, "auroc": None}
