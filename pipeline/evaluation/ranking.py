"""Score without thresholds: how well scores per second rank the seconds that have a class before the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..timeline import SINGLE_MODALITIES


def average_precision(scores: ArrayLike, truth: ArrayLike) -> float:
    """Compute the area under the steps of precision over recall.

    Args:
        scores: (N,), the higher the likelier.
        truth: (N,) of 0 and 1.

    Returns:
        The sum over all scores of precision times the growth of recall, in [0, 1]; seconds of one score are taken
        together. NaN where nothing is true.

    Source:
        `average_precision_score` of scikit-learn, which the tests compare with.
    """
    ranked, hits = _ranked(scores, truth)
    found = np.cumsum(hits)
    if not len(found) or not found[-1]:
        return math.nan
    last = np.append(ranked[1:] != ranked[:-1], True)  # of the seconds with one score
    precision = found[last] / (np.flatnonzero(last) + 1)
    return float((precision * np.diff(found[last] / found[-1], prepend=0)).sum())


def area_under_roc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Compute the share of pairs, one second that has the class and one that does not, that scores rank rightly.

    Args:
        scores: (N,), the higher the likelier.
        truth: (N,) of 0 and 1.

    Returns:
        The area under the receiver operating characteristic, in [0, 1]; pairs with equal scores count half. NaN where
        all or none is true.
    """
    values, active = np.asarray(scores), np.asarray(truth, bool)
    positive = int(active.sum())
    if not 0 < positive < len(active):
        return math.nan
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2  # mean rank of equal scores, from 1
    ranks = middle[groups][active].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * (len(active) - positive)))


def _ranked(scores: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values = np.asarray(scores)
    order = np.argsort(-values, kind="stable")
    return values[order], np.asarray(truth, bool)[order]


class ClassRanking(NamedTuple):
    """How scores of one class and modality rank; NaN where it cannot be said.

    Attributes:
        seconds: that have the class.
        average_precision: in percent.
        auroc: area under the receiver operating characteristic, in percent.
    """

    seconds: int
    average_precision: float
    auroc: float

    def to_dict(self) -> dict[str, float | None]:
        """Return a JSON-ready mapping, in which None stands for NaN."""
        return {name: None if math.isnan(value) else value for name, value in self._asdict().items()}


@dataclass(frozen=True)
class RankingEvaluation:
    """Rankings of the classes of one system on one split.

    Attributes:
        split: name of the split.
        source: name of the system.
        clips: number of clips.
        seconds: of the clips together.
        classes: modality -> class -> its ranking.
        notes: for the reader.
    """

    split: str
    source: str
    clips: int
    seconds: int
    classes: Mapping[str, Mapping[str, ClassRanking]]
    notes: tuple[str, ...] = field(default=())

    def mean(self, modality: str) -> ClassRanking:
        """Return the means over the classes that occur in a modality, and the seconds that have one of them."""
        found = [ranking for ranking in self.classes[modality].values() if ranking.seconds]
        precisions = [ranking.average_precision for ranking in found]
        areas = [ranking.auroc for ranking in found if not math.isnan(ranking.auroc)]
        return ClassRanking(
            sum(ranking.seconds for ranking in found),
            float(np.mean(precisions)) if precisions else math.nan,
            float(np.mean(areas)) if areas else math.nan,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: percent, null where nothing can be said."""
        return {
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "clips": self.clips,
            "seconds": self.seconds,
            "means": {modality: self.mean(modality).to_dict() for modality in self.classes},
            "classes": {
                modality: {label: ranking.to_dict() for label, ranking in rankings.items()}
                for modality, rankings in self.classes.items()
            },
        }


def rank_classes(
    scores: Mapping[str, Sequence[NDArray[np.floating]]],
    truth: Mapping[str, Sequence[NDArray[np.bool_]]],
    labels: Sequence[str],
) -> dict[str, dict[str, ClassRanking]]:
    """Rank the seconds of all clips by the scores of each class.

    Args:
        scores: modality, "audio" or "visual" -> for each clip (T, C), of any length.
        truth: the same, annotated; of the same lengths.
        labels: C class names.

    Returns:
        Modality -> class -> its ranking; "audio_visual" too, whose score of a second is the smaller of both.
    """
    tables = {modality: np.concatenate(list(scores[modality])) for modality in SINGLE_MODALITIES}
    active = {modality: np.concatenate(list(truth[modality])) for modality in SINGLE_MODALITIES}
    audio, visual = (tables[modality] for modality in SINGLE_MODALITIES)
    tables["audio_visual"] = np.minimum(audio, visual)
    active["audio_visual"] = active["audio"] & active["visual"]
    return {
        modality: {
            label: ClassRanking(
                int(active[modality][:, index].sum()),
                100 * average_precision(table[:, index], active[modality][:, index]),
                100 * area_under_roc(table[:, index], active[modality][:, index]),
            )
            for index, label in enumerate(labels)
        }
        for modality, table in tables.items()
    }
