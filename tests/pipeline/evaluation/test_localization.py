"""Scores of event localization: by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import Annotations, DatasetSplit, EventRow, read_annotations
from avvp.pipeline.datasets.localization import annotated_targets
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.evaluation.localization import (
    LocalizationScores,
    count_overlap,
    describe_overlap,
    evaluate_localization,
)
from avvp.pipeline.evaluation.localization_tables import localization_tables
from avvp.pipeline.metrics import NO_SECOND
from avvp.pipeline.timeline import SegmentLabels
from support.golden import needs_golden
from support.paths import SHARED

LABELS = ("Bell", "Dog")
NONE = 2  # the background


def annotations_of(splits: dict[str, dict[str, tuple[int, int, int]]]) -> Annotations:
    """Clips with their class, onset and offset, in AVE's form."""
    events = tuple(
        EventRow(name, start, end, label) for part in splits.values() for name, (label, start, end) in part.items()
    )
    parts = {
        split: DatasetSplit(split, tuple(part), np.eye(2, dtype=bool)[[label for label, _, _ in part.values()]])
        for split, part in splits.items()
    }
    return Annotations(Path("x"), LABELS, parts, {"audio": events, "visual": events}, task="avel", videos={"a.2": "a"})


ANNOTATIONS = annotations_of(
    {
        "train": {"a": (1, 0, 4), "b": (1, 1, 2), "c": (0, 0, 2)},
        "test": {"a.2": (0, 0, 2), "d": (1, 2, 4), "e.2": (0, 0, 1)},
    }
)


def labels_of(classes: np.ndarray) -> SegmentLabels:
    table = np.eye(3, dtype=bool)[classes][..., :2]
    return SegmentLabels(table, table)


def test_scores_by_hand() -> None:
    """Clip 1: two seconds right, one invented. Clip 2: right, and an event of the wrong class; its end is padding."""
    truth = np.array([[0, 0, NONE, NONE], [NONE, 1, 1, NO_SECOND]])
    predicted = np.array([[0, 0, 0, NONE], [NONE, 0, NONE, NONE]])
    found = evaluate_localization(labels_of(predicted), truth, ANNOTATIONS, split="test", source="x")
    assert found.confusion.tolist() == [[2, 0, 0], [1, 0, 1], [1, 0, 2]]
    assert found.scores == pytest.approx((100 * 4 / 7, 50.0, 100 * 2 / 3))
    assert found.detection.tolist() == [[3, 1], [1, 2]]
    assert [tuple(pair) for pair in found.confusions] == [("Dog", "Bell", 1)]
    assert found.classes["Bell"] == (2, 100.0, 4, 50.0)
    assert found.classes["Dog"][:3] == (2, 0.0, 0)
    assert math.isnan(found.classes["Dog"].precision)
    assert found.classes["background"] == pytest.approx((3, 100 * 2 / 3, 3, 100 * 2 / 3))
    assert found.to_dict()["classes"]["Dog"]["precision"] is None


def test_rules_that_look_at_no_features() -> None:
    """Dog is the most frequent event of the training clips; it has one of the seven seconds."""
    truth = np.array([[0, 0, NONE, NONE], [NONE, 1, NONE, NO_SECOND]])
    baselines = evaluate_localization(labels_of(truth.clip(0)), truth, ANNOTATIONS, split="test", source="x").baselines
    assert [round(scores.accuracy, 6) for scores in baselines.values()] == [
        round(100 * 4 / 7, 6), round(100 / 7, 6), round(100 * 3 / 7, 6)
    ]  # fmt: skip
    assert list(baselines) == [
        "background everywhere",
        "Dog everywhere (most frequent event in training)",
        "the clip's true class everywhere",
    ]


def test_the_class_of_a_clip_is_that_of_most_seconds() -> None:
    truth = np.array([[0, 0, 1, NONE]])
    found = evaluate_localization(labels_of(truth), truth, ANNOTATIONS, split="test", source="x")
    assert found.baselines["the clip's true class everywhere"].accuracy == pytest.approx(50.0)


def test_a_class_called_background_is_refused() -> None:
    annotations = replace(ANNOTATIONS, labels=("Bell", "background"))
    with pytest.raises(DatasetError, match="a class is called 'background'"):
        annotated_targets(annotations, annotations.split("test"), [4, 4, 4])


def test_several_classes_in_a_second() -> None:
    """The class with more seconds in the clip counts, and the reader is told."""
    truth = np.array([[1, 1, NONE]])
    table = np.array([[[True, True], [False, True], [False, False]]])
    found = evaluate_localization(SegmentLabels(table, table), truth, ANNOTATIONS, split="test", source="x")
    assert found.scores.accuracy == 100
    assert "Seconds with several predicted classes: 1;" in found.notes[0]


def test_a_class_heard_and_not_seen_is_background() -> None:
    heard = np.ones((1, 2, 2), bool)
    found = evaluate_localization(
        SegmentLabels(heard, ~heard), np.array([[0, NONE]]), ANNOTATIONS, split="test", source="x"
    )
    assert found.confusion[:, NONE].sum() == 2


def test_overlap_between_the_splits() -> None:
    """The second clip of `a` shares its video with train; `e.2` is a name of its own, because there is no `e`."""
    assert count_overlap(ANNOTATIONS, "test") == {"train": 1}
    assert count_overlap(annotations_of({"train": {"e": (0, 0, 1)}, "test": {"d": (0, 0, 1)}}), "test") == {}


@needs_golden
def test_overlap_of_ave() -> None:
    pytest.importorskip("h5py")
    annotations = read_annotations(SHARED / "ave")
    assert count_overlap(annotations, "test") == {"train": 8}
    assert count_overlap(annotations, "val") == {"train": 10}


def test_scores_without_background_are_no_numbers() -> None:
    scores = LocalizationScores.of(np.array([[3, 1], [0, 0]]))
    assert scores.to_dict() == {"accuracy": 75.0, "events": 75.0, "background": None}


def test_tables() -> None:
    truth = np.array([[0, 0, NONE, NONE], [NONE, 1, 1, 1]])
    predicted = np.array([[1, 1, NONE, NONE], [NONE, 0, 1, NONE]])
    found = evaluate_localization(labels_of(predicted), truth, ANNOTATIONS, split="test", source="mine", notes=["note"])
    scores, detection, confusions, classes = localization_tables(found, per_class=True)
    assert scores.rows[0] == ("mine", "50.0", "20.0", "100.0")
    assert scores.notes[-1] == "note"
    assert describe_overlap(found) in scores.notes
    assert detection.rows == (("seconds with an event", "4", "1"), ("seconds without one", "0", "3"))
    assert detection.notes == ("Of the 4 event seconds that are found, 1 have the right class.",)
    assert confusions.rows == (("Bell", "Dog", "2"), ("Dog", "Bell", "1"))
    assert classes.rows[0] == ("Bell", "2", "0.0", "1", "0.0")
