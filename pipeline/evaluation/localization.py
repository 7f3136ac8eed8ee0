"""Evaluate classes of seconds against those of a split: accuracy, confusions, and what simple rules would score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.localizers.config import BACKGROUND
from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id, video_of
from ..datasets.clips import SplitDataset
from ..datasets.localization import EventTargets, annotated_targets, find_event_targets
from ..metrics import NO_SECOND, class_confusion
from ..timeline import SegmentLabels

MOST_CONFUSIONS = 10  # pairs of classes in a report


class LocalizationScores(NamedTuple):
    """Shares of right seconds, in percent; NaN where there is no such second.

    Attributes:
        accuracy: of all seconds.
        events: of the seconds with an event: its class is predicted.
        background: of the seconds without one.
    """

    accuracy: float
    events: float
    background: float

    @classmethod
    def of(cls, confusion: NDArray[np.int64]) -> LocalizationScores:
        """Compute the scores from `class_confusion`, (C + 1, C + 1), the background last."""
        right, seconds = np.diag(confusion), confusion.sum(axis=1)
        return cls(
            _percent(right.sum(), seconds.sum()),
            _percent(right[:-1].sum(), seconds[:-1].sum()),
            _percent(right[-1], seconds[-1]),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return a JSON-ready mapping, in which None stands for NaN."""
        return {name: None if np.isnan(value) else float(value) for name, value in self._asdict().items()}


class ClassScores(NamedTuple):
    """Seconds of one class; percentages are NaN where there are none."""

    seconds: int  # annotated
    recall: float  # percent of them that are predicted
    predicted: int  # seconds
    precision: float  # percent of them that are right


class Confusion(NamedTuple):
    """Seconds of one class that another one is predicted for."""

    truth: str
    predicted: str
    seconds: int


@dataclass(frozen=True, eq=False)
class LocalizationEvaluation:
    """Scores of one system on one split; C classes, the background is class C."""

    split: str
    source: str  # name of the localizer or of the folder that was scored
    labels: tuple[str, ...]  # C classes
    clips: int
    confusion: NDArray[np.int64]  # (C + 1, C + 1) seconds, a row for each true class
    baselines: dict[str, LocalizationScores]  # rule -> scores of predicting by it
    overlap: dict[str, int]  # other split -> videos of this split that are in it, too
    notes: tuple[str, ...] = field(default=())  # for the reader

    @property
    def scores(self) -> LocalizationScores:
        """Scores of all clips."""
        return LocalizationScores.of(self.confusion)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows of `confusion`."""
        return (*self.labels, BACKGROUND)

    @property
    def detection(self) -> NDArray[np.int64]:
        """(2, 2) seconds: event and background, a row for each that is true, a column for each that is predicted."""
        events, background = self.confusion[:-1], self.confusion[-1]
        return np.array(
            [[events[:, :-1].sum(), events[:, -1].sum()], [background[:-1].sum(), background[-1]]], np.int64
        )

    @property
    def classes(self) -> dict[str, ClassScores]:
        """Name -> scores of each class and of the background."""
        right, seconds, predicted = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return {
            name: ClassScores(
                int(seconds[index]),
                _percent(right[index], seconds[index]),
                int(predicted[index]),
                _percent(right[index], predicted[index]),
            )
            for index, name in enumerate(self.names)
        }

    @property
    def confusions(self) -> list[Confusion]:
        """The pairs of different classes with the most seconds, the background left out: see `detection`."""
        wrong = self.confusion[:-1, :-1].copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [
            Confusion(self.labels[true], self.labels[predicted], int(wrong[true, predicted]))
            for true, predicted in pairs
            if wrong[true, predicted]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: scores in percent, null where there is no second to score."""
        found, missed = self.detection.tolist()
        return {
            "task": "avel",
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "clips": self.clips,
            "seconds": int(self.confusion.sum()),
            "scores": self.scores.to_dict(),
            "baselines": {name: scores.to_dict() for name, scores in self.baselines.items()},
            "detection": {
                "event": {"event": found[0], BACKGROUND: found[1]},
                BACKGROUND: {"event": missed[0], BACKGROUND: missed[1]},
            },
            "confusions": [pair._asdict() for pair in self.confusions],
            "overlap": self.overlap,
            "classes": {
                name: {
                    key: None if isinstance(value, float) and np.isnan(value) else value
                    for key, value in scores._asdict().items()
                }
                for name, scores in self.classes.items()
            },
        }


def classes_of_seconds(targets: EventTargets, lengths: ArrayLike) -> NDArray[np.int64]:
    """Return the class of each second (N, T), `NO_SECOND` past the end of a clip.

    Args:
        targets: of N clips.
        lengths: (N,) seconds.
    """
    inside = np.arange(targets.segments.shape[1]) < np.asarray(lengths)[:, None]
    return np.where(inside, targets.segments, NO_SECOND)


def evaluate_localization(
    decisions: SegmentLabels,
    truth: NDArray[np.int64],
    annotations: Annotations,
    *,
    split: str,
    source: str,
    notes: Sequence[str] = (),
) -> LocalizationEvaluation:
    """Score decisions on all clips of a split.

    Args:
        decisions: (N, T, C) predicted labels; where several classes are both heard and seen in a second, the one with
            the most seconds in the clip counts.
        truth: (N, T) class of each second, of `classes_of_seconds`.
        annotations: of the data set.
        split: name of the split.
        source: name of the system.
        notes: for the reader of the scores.

    Returns:
        The scores.
    """
    count = len(annotations.labels)
    clips, seconds = truth.shape
    predicted = find_event_targets(decisions, np.full(clips, seconds))
    if ambiguous := int(predicted.ambiguous.sum()):
        notes = (
            *notes,
            f"Seconds with several predicted classes: {ambiguous:,}; the one with most seconds in the clip counts.",
        )
    return LocalizationEvaluation(
        split=split,
        source=source,
        labels=annotations.labels,
        clips=clips,
        confusion=class_confusion(predicted.segments, truth, count + 1),
        baselines=dict(_baselines(truth, annotations, split)),
        overlap=count_overlap(annotations, split),
        notes=tuple(notes),
    )


def score_event_clips(decisions: SegmentLabels, clips: SplitDataset) -> LocalizationScores:
    """Score decisions (N, T, C) on the clips of a split that were loaded for event localization."""
    truth = classes_of_seconds(clips.event_targets, clips.lengths)
    predicted = find_event_targets(decisions, np.full(len(clips), truth.shape[1])).segments
    return LocalizationScores.of(class_confusion(predicted, truth, decisions.audio.shape[2] + 1))


def _baselines(
    truth: NDArray[np.int64], annotations: Annotations, split: str
) -> Iterator[tuple[str, LocalizationScores]]:
    """Score rules that look at no features: what localization has to be better than."""
    count = len(annotations.labels)
    rules = {"background everywhere": np.full_like(truth, count)}
    seconds = _training_seconds(annotations)
    where = "training" if seconds is not None else split
    seconds = np.bincount(truth[truth != NO_SECOND], minlength=count + 1) if seconds is None else seconds
    frequent = int(seconds[:count].argmax())
    rules[f"{annotations.labels[frequent]} everywhere (most frequent event in {where})"] = np.full_like(truth, frequent)
    seconds_of = (truth[:, :, None] == np.arange(count)).sum(axis=1)  # (N, C)
    clip_class = np.where(seconds_of.any(axis=1), seconds_of.argmax(axis=1), count)
    rules["the clip's true class everywhere"] = np.broadcast_to(clip_class[:, None], truth.shape)
    for name, predicted in rules.items():
        yield name, LocalizationScores.of(class_confusion(predicted, truth, count + 1))


def _training_seconds(annotations: Annotations) -> NDArray[np.int64] | None:
    """Return the seconds of each class in the training clips (C + 1,), None where they are not annotated."""
    train = annotations.splits.get("train")
    if train is None or annotations.task != "avel":
        return None
    targets = annotated_targets(annotations, train, np.full(len(train), annotations.segments))
    return np.bincount(targets.segments.ravel(), minlength=len(annotations.labels) + 1)


def count_overlap(annotations: Annotations, split: str) -> dict[str, int]:
    """Count the videos of a split that other splits have clips of, too: scores on them are not independent.

    Args:
        annotations: of the data set.
        split: name of the split.

    Returns:
        Other split -> number of videos, without splits that share none.
    """

    def videos(part: str) -> set[str]:
        return {clip_id(video_of(name, annotations.videos)) for name in annotations.splits[part].filenames}

    own = videos(split)
    shared = {other: len(own & videos(other)) for other in annotations.splits if other != split}
    return {other: count for other, count in shared.items() if count}


def describe_overlap(evaluation: LocalizationEvaluation) -> str:
    """Say how many videos of the split are in other splits, too."""
    if not evaluation.overlap:
        return f"No video of {evaluation.split} is in another split."
    shared = ", ".join(f"{count} in {split}" for split, count in evaluation.overlap.items())
    return f"Overlap between the splits: of the videos of {evaluation.split}, {shared}, too."


def _percent(part: np.integer[Any] | int, whole: np.integer[Any] | int) -> float:
    return 100 * float(part) / float(whole) if whole else float("nan")
