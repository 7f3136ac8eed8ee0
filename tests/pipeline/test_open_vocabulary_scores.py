"""Accuracy and F-scores of event localization with an open vocabulary: by hand, and against OV-AVEL's scorer."""

from __future__ import annotations

import numpy as np
import pytest
from avvp.pipeline.metrics import NO_SECOND, open_vocabulary_scores
from avvp.pipeline.open_vocabulary.published import find_event_of_clip, open_probabilities
from support.golden import load_json, load_npz, needs_golden

OTHER = 67


@needs_golden
@pytest.mark.parametrize("name", ["v0", "v01"])
def test_the_training_free_baseline_is_the_published_one(name: str) -> None:
    golden = load_npz("ovavel.npz")
    truth = np.where(golden["truth/on"] > 0, golden["truth/class"][:, None], OTHER)
    expected = np.where(golden[f"{name}/is_event"] > 0, golden[f"{name}/class"][:, None], OTHER)
    tables = zip(golden[f"{name}/audio"], golden[f"{name}/visual"], strict=True)
    found = np.array([find_event_of_clip(audio, visual, OTHER) for audio, visual in tables])
    np.testing.assert_array_equal(found, expected)
    scores = open_vocabulary_scores(found, truth, OTHER)
    published = load_json("ovavel.json")[name]
    assert [scores.accuracy, scores.segment, scores.event] == pytest.approx(
        [published["accuracy"], *published["f1"]], abs=1e-6
    )


@needs_golden
def test_the_decision_of_the_fine_tuned_baseline_is_the_published_one() -> None:
    golden = load_npz("ovavel.npz")
    found = open_probabilities(golden["v01/audio"], golden["v01/visual"])
    np.testing.assert_allclose(found, golden["v1/probabilities"], atol=1e-6)
    np.testing.assert_array_equal(found.argmax(-1), golden["v1/decision"])
    truth = np.where(golden["truth/on"] > 0, golden["truth/class"][:, None], OTHER)
    scores = open_vocabulary_scores(golden["v1/decision"], truth, OTHER)
    published = load_json("ovavel.json")["v1"]
    assert [scores.accuracy, scores.segment, scores.event] == pytest.approx(
        [published["accuracy"], *published["f1"]], abs=1e-6
    )


def test_scores_by_hand() -> None:
    # Class 1: 2 of 3 and 3 seconds agree, F = 4/6; background 9: 1 of 2 and 2, F = 2/4; class 2: F = 0.
    # Runs: class 1 [0, 3) and [1, 4): 2 of 4 shared, a match; background [3, 5) and [0, 1), [4, 5): 1 of 2 shared.
    truth = [[9, 1, 1, 1, 9]]
    predicted = [[1, 1, 1, 9, 9]]
    scores = open_vocabulary_scores(predicted, truth, 9)
    assert scores.accuracy == pytest.approx(3 / 5)
    assert scores.segment == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert scores.event == pytest.approx((1 + 2 / 3) / 2)
    assert scores.mean == pytest.approx((scores.accuracy + scores.segment + scores.event) / 3)
    # The second clip is right in all: the mean over clips, not over seconds or classes.
    both = open_vocabulary_scores([*predicted, [2, 2, 2, 2, 2]], [*truth, [2, 2, 2, 2, 2]], 9)
    assert both.accuracy == pytest.approx((3 / 5 + 1) / 2)
    assert both.event == pytest.approx((scores.event + 1) / 2)


def test_seconds_past_the_end_do_not_count() -> None:
    whole = open_vocabulary_scores([[1, 1, 0]], [[1, 0, 0]], 0)
    padded = open_vocabulary_scores([[1, 1, 0, 1], [1, 1, 1, 1]], [[1, 0, 0, NO_SECOND], [NO_SECOND] * 4], 0)
    assert padded == whole


def test_the_background_may_be_minus_one() -> None:
    scores = open_vocabulary_scores([[-1, 1]], [[-1, 2]], -1)
    assert (scores.accuracy, scores.segment, scores.event) == (0.5, 1 / 3, 1 / 3)


def test_refuses_what_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="one shape"):
        open_vocabulary_scores([[0, 1]], [[0, 1, 2]], 0)
    with pytest.raises(ValueError, match="no second"):
        open_vocabulary_scores([[0]], [[NO_SECOND]], 0)


def test_a_clip_without_agreement_is_background() -> None:
    audio, visual = np.eye(3)[[0, 1, 1]], np.eye(3)[[1, 1, 2]]
    assert find_event_of_clip(audio, visual).tolist() == [-1, 1, -1]
    assert find_event_of_clip(audio[:1], visual[:1], 2).tolist() == [2]
    # The first second that agrees gives the class of all.
    assert find_event_of_clip(np.eye(3)[[2, 0]], np.eye(3)[[2, 0]]).tolist() == [2, 2]


def test_probabilities_of_seconds_that_are_alike_are_zero() -> None:
    assert open_probabilities([[0.2, 0.2]], [[0.3, 0.3]]).tolist() == [[0, 0]]
    assert open_probabilities([[0.5, -0.5, 0.1]], [[0.5, -0.5, -0.1]]).tolist() == [[1, 1, 0]]
