"""Score one class a second as OV-AVEL does: accuracy, segments and events, of clips with seen and unseen classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datasets.annotations import Annotations
from ..datasets.localization import find_event_targets
from ..metrics import open_vocabulary_scores
from ..timeline import SegmentLabels

PARTS = ("seen", "unseen", "total")


class OvAvelScores(NamedTuple):
    """Scores of some clips, in percent.

    Attributes:
        accuracy: share of right seconds.
        segment: F over seconds, the mean over the classes of each clip.
        event: the same of runs of seconds, right from an intersection over union of 0.5 on.
    """

    accuracy: float
    segment: float
    event: float

    @property
    def average(self) -> float:
        """Mean of the three."""
        return sum(self) / len(self)

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-ready mapping."""
        return {**self._asdict(), "average": self.average}


@dataclass(frozen=True)
class OvAvelEvaluation:
    """Scores of one system on one split.

    Attributes:
        split: name of the split.
        source: name of the system.
        parts: each of `PARTS` -> number of clips, and their scores; None where there are no clips.
        notes: for the reader.
    """

    split: str
    source: str
    parts: Mapping[str, tuple[int, OvAvelScores | None]]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: scores in percent, null where there are no clips."""
        return {
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "parts": {
                name: {"clips": clips, "scores": None if scores is None else scores.to_dict()}
                for name, (clips, scores) in self.parts.items()
            },
        }


def score_ov_avel(
    decisions: SegmentLabels, truth: SegmentLabels, unseen: NDArray[np.bool_]
) -> dict[str, tuple[int, OvAvelScores | None]]:
    """Score decisions of N clips, of which a class that is both heard and seen is the class of a second.

    Args:
        decisions: (N, T, C) predicted labels.
        truth: (N, T, C) annotated labels.
        unseen: (N,) whether training clips lack the class of the clip.

    Returns:
        Each of `PARTS` -> number of clips, and their scores.
    """
    clips, seconds, classes = truth.audio.shape
    lengths = np.full(clips, seconds)
    predicted, annotated = (find_event_targets(labels, lengths).segments for labels in (decisions, truth))
    chosen = {"seen": ~unseen, "unseen": unseen, "total": np.ones(clips, bool)}
    parts: dict[str, tuple[int, OvAvelScores | None]] = {}
    for name in PARTS:
        rows = chosen[name]
        scores = None
        if rows.any():
            found = open_vocabulary_scores(predicted[rows], annotated[rows], classes)
            scores = OvAvelScores(100 * found.accuracy, 100 * found.segment, 100 * found.event)
        parts[name] = (int(rows.sum()), scores)
    return parts


def unseen_rows(annotations: Annotations, split: str) -> NDArray[np.bool_]:
    """Return for each clip of a split whether the class of the clip is unseen in training.

    Args:
        annotations: of the data set; where it does not say, a class is unseen that no training clip has.
        split: "val" or "test".
    """
    clips = annotations.split(split)
    if annotations.unseen or "train" not in annotations.splits:
        return np.array([name in annotations.unseen for name in clips.filenames], bool)
    known = annotations.splits["train"].labels.any(axis=0)
    return np.asarray(clips.labels.any(axis=1) & ~clips.labels[:, known].any(axis=1))
