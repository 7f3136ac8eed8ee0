"""Accuracy of event localization: by hand, and against the published scorers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.localization import annotated_targets
from avvp.pipeline.metrics import NO_SECOND, class_confusion, segment_accuracy
from support.golden import SEED, load_json, needs_golden
from support.paths import SHARED

AVE = SHARED / "ave"
CLIPS = (1, 2, 7, 64, 402, 402)
TIED = (False, False, True, False, False, True)
CLASSES = 28


def test_seconds_by_hand() -> None:
    """Three of the five seconds are right; the last of the first clip does not count."""
    truth = np.array([[0, 2, NO_SECOND], [1, 1, 2]])
    predicted = np.array([[0, 1, 0], [1, 1, 0]])
    assert segment_accuracy(predicted, truth) == pytest.approx(60)
    assert class_confusion(predicted, truth, 3).tolist() == [[1, 0, 0], [0, 2, 0], [1, 1, 0]]


def test_padding_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, 4, (2, 5, 10))
    padded = np.pad(truth, ((0, 0), (0, 3)), constant_values=NO_SECOND)
    assert segment_accuracy(np.pad(predicted, ((0, 0), (0, 3))), padded) == segment_accuracy(predicted, truth)


@pytest.mark.parametrize(
    ("predicted", "truth", "problem"),
    [
        ([[0, 1]], [[0, 1, 2]], "one shape"),
        ([0, 1], [0, 1], "one shape"),
        ([[0.0, 1.0]], [[0, 1]], "integers"),
        (np.zeros((0, 10), int), np.zeros((0, 10), int), "no second"),
        ([[0, 0]], [[NO_SECOND, NO_SECOND]], "no second"),
    ],
)
def test_refuses_what_cannot_be_scored(predicted: Any, truth: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        segment_accuracy(predicted, truth)


def test_a_class_of_another_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 2"):
        class_confusion([[3]], [[0]], 3)


def draw(index: int) -> dict[str, np.ndarray]:
    """A case of README-avel.md: the truth, and predictions by each of the published rules."""
    rng, clips = np.random.default_rng([SEED, index]), CLIPS[index]
    label, start = rng.integers(0, CLASSES, clips), rng.integers(0, 10, clips)
    end = rng.integers(start, 11)
    seconds = np.arange(10)
    inside = (seconds >= start[:, None]) & (seconds < end[:, None])
    truth = np.where(inside, label[:, None], CLASSES)
    scores = rng.standard_normal((clips, 10, CLASSES + 1)) + 2 * np.eye(CLASSES + 1)[truth]
    events = rng.standard_normal((clips, 10)) + 0.8 * (2 * inside - 1)
    categories = rng.standard_normal((clips, CLASSES)) + 2 * np.eye(CLASSES)[label]
    if TIED[index]:
        scores, events, categories = (np.round(2 * x) / 2 for x in (scores, events, categories))
    category = np.broadcast_to(categories.argmax(1)[:, None], truth.shape)
    return {
        "truth": truth,
        "segments": scores.argmax(2),
        "event_and_category": np.where(events > 0, category, CLASSES),
    }


@needs_golden
@pytest.mark.parametrize("index", range(len(CLIPS)))
def test_published_scorers(index: int) -> None:
    case, golden = draw(index), load_json("avel_metrics.json")["cases"][index]
    assert golden["clips"] == CLIPS[index]
    for rule in ("segments", "event_and_category"):
        assert segment_accuracy(case[rule], case["truth"]) == pytest.approx(golden[rule], abs=1e-9), rule


@needs_golden
@pytest.mark.parametrize(("number", "split"), [(0, "train"), (1, "val"), (2, "test")])
def test_published_scorers_on_the_real_splits(number: int, split: str) -> None:
    pytest.importorskip("h5py")
    golden = load_json("avel_metrics.json")["ave"][split]
    annotations = read_annotations(AVE)
    clips = annotations.split(split)
    truth = annotated_targets(annotations, clips, np.full(len(clips), 10)).segments
    rows = {row.filename: row.label for row in annotations.events["audio"]}
    everywhere = np.array([[rows.get(name, 0)] * 10 for name in clips.filenames])  # one clip of train has no event
    rng = np.random.default_rng([SEED, number])
    other, wrong = rng.integers(0, CLASSES + 1, truth.shape), rng.random(truth.shape) < 0.3
    predictions = {
        "background": np.full_like(truth, CLASSES),
        "truth": truth,
        "event_everywhere": everywhere,
        "noisy": np.where(wrong, other, truth),
    }
    for name, predicted in predictions.items():
        assert segment_accuracy(predicted, truth) == pytest.approx(golden[name], abs=1e-9), name
