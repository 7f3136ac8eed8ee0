"""Score events as detections: mean average precision at temporal intersections over union, as for UnAV-100.

The events of a class in all videos are ranked by their scores. An event is right if its intersection over union with an
annotated event of the class in its video, that no event before it has taken, is at least the threshold; it takes the
one that it overlaps most. Average precision is the area under the precision over recall, where precision is made
monotonic; the mean is over the classes that are annotated.

Source:
    Caba Heilbron et al.: ActivityNet, CVPR 2015, whose measure UnAV-100 takes (Geng et al., CVPR 2023), with 0.1 to
    0.9 as thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Spans = Mapping[str, NDArray[np.float64]]  # video -> rows of onset, offset in seconds, and of detections score


def temporal_iou(span: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute intersections over unions of intervals.

    Args:
        span: onset and offset, in seconds.
        others: (M, 2) onsets and offsets.

    Returns:
        (M,) in [0, 1]; 0 for two intervals without length.
    """
    shared = np.minimum(span[1], others[:, 1]) - np.maximum(span[0], others[:, 0])
    shared = np.maximum(shared, 0)
    union = (span[1] - span[0]) + (others[:, 1] - others[:, 0]) - shared
    return np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)


def detection_precisions(
    detections: Spans, truth: Spans, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> NDArray[np.float64]:
    """Compute the average precision of the events of one class.

    Args:
        detections: video -> (N, 3) onset, offset and score; of equal scores the first video and row is first.
        truth: video -> (M, 2) onset and offset.
        thresholds: K least intersections over union.

    Returns:
        (K,) in [0, 1]; NaN where no video has an annotated event.
    """
    annotated = sum(map(len, truth.values()))
    if not annotated:
        return np.full(len(thresholds), math.nan)
    owners = [name for name, rows in detections.items() for _ in rows]
    if not owners:
        return np.zeros(len(thresholds))
    table = np.concatenate([rows for rows in detections.values() if len(rows)])
    levels = np.asarray(thresholds)
    right = np.zeros((len(table), len(levels)), bool)
    taken = {name: np.zeros((len(rows), len(levels)), bool) for name, rows in truth.items()}
    order = np.argsort(-table[:, 2], kind="stable")
    for place, index in enumerate(order):
        spans = truth.get(owners[index])
        if spans is None or not len(spans):
            continue
        overlaps = temporal_iou(table[index], spans)
        free = np.ones(len(levels), bool)  # thresholds at which this event has taken none yet
        for match in np.argsort(-overlaps, kind="stable"):
            can = free & (overlaps[match] >= levels) & ~taken[owners[index]][match]
            taken[owners[index]][match] |= can
            right[place] |= can
            free &= ~can
            if overlaps[match] < levels.min() or not free.any():
                break
    found = np.cumsum(right, axis=0)
    precision = found / np.arange(1, len(table) + 1)[:, None]
    highest = np.maximum.accumulate(precision[::-1], axis=0)[::-1]  # at this recall or a higher one
    return (highest * np.diff(found, axis=0, prepend=0)).sum(axis=0) / annotated


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """Average precisions of the classes of one system on one split.

    Attributes:
        split: name of the split.
        source: name of the system.
        clips: number of clips.
        precisions: modality -> class -> (K,) average precision at each of `IOU_THRESHOLDS`, in percent; NaN where the
            class is not annotated.
        notes: for the reader.
    """

    split: str
    source: str
    clips: int
    precisions: Mapping[str, Mapping[str, NDArray[np.float64]]]
    notes: tuple[str, ...] = field(default=())

    def mean(self, modality: str) -> NDArray[np.float64]:
        """Return the (K,) mean average precisions over the classes that are annotated, in percent."""
        rows = [row for row in self.precisions[modality].values() if not np.isnan(row).any()]
        return np.mean(rows, axis=0) if rows else np.full(len(IOU_THRESHOLDS), math.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: percent, null where a class is not annotated."""
        return {
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "clips": self.clips,
            "iou_thresholds": list(IOU_THRESHOLDS),
            "means": {modality: _listed(self.mean(modality)) for modality in self.precisions},
            "classes": {
                modality: {label: _listed(row) for label, row in rows.items()}
                for modality, rows in self.precisions.items()
            },
        }


def _listed(row: NDArray[np.float64]) -> dict[str, Any]:
    if np.isnan(row).any():
        return {"at": None, "average": None}
    return {"at": row.tolist(), "average": float(row.mean())}


def evaluate_detections(
    detections: Mapping[str, Mapping[str, Spans]], truth: Mapping[str, Mapping[str, Spans]], labels: Sequence[str]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Score the events of all classes.

    Args:
        detections: modality -> class -> see `detection_precisions`.
        truth: the same of annotated events; its modalities are scored.
        labels: class names.

    Returns:
        Modality -> class -> (K,) average precisions in percent.
    """
    return {
        modality: {
            label: 100 * detection_precisions(detections.get(modality, {}).get(label, {}), classes.get(label, {}))
            for label in labels
        }
        for modality, classes in truth.items()
    }
