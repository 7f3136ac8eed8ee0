"""The scores of one system on one split, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...models.parser import AVParser
from ..datasets.clips import SplitDataset
from ..inference.predict import predict_clips
from ..inference.thresholds import Thresholds
from ..metrics import Scores, class_scores, overlapping, score
from ..timeline import SegmentLabels


@dataclass(frozen=True)
class Subset:
    """Scores of some of the clips; None where there are no such clips."""

    clips: int
    scores: Scores | None


@dataclass(frozen=True)
class Evaluation:
    """All that is known of one system on one split."""

    split: str
    source: str  # the parser's or the timelines' name
    labels: tuple[str, ...]
    whole: Subset
    overlapping: Subset  # some second has two or more events of one modality
    non_overlapping: Subset
    classes: dict[str, Scores | None]  # class -> its own scores
    notes: tuple[str, ...] = field(default=())

    @property
    def scores(self) -> Scores:
        """Of all clips."""
        assert self.whole.scores is not None  # a split has clips
        return self.whole.scores

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping: scores in percent, null for what no clip could be scored by."""

        def document(scores: Scores | None) -> dict[str, Any] | None:
            return None if scores is None else scores.to_dict()

        subsets = {name: getattr(self, name) for name in ("whole", "overlapping", "non_overlapping")}
        return {
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "scores": document(self.scores),
            "subsets": {name: {"clips": part.clips, "scores": document(part.scores)} for name, part in subsets.items()},
            "classes": {label: document(scores) for label, scores in self.classes.items()},
        }


def score_clips(parser: AVParser, clips: SplitDataset, device: torch.device) -> Scores:
    """The ten scores by the published decision, every threshold at 0.5."""
    labels = parser.config.labels
    uniform = Thresholds.uniform(labels)
    return score(*uniform.decide(predict_clips(parser, clips, device)), *clips.segment_labels)


def evaluate(
    decisions: SegmentLabels,
    truth: SegmentLabels,
    *,
    split: str,
    source: str,
    labels: Sequence[str],
    notes: Sequence[str] = (),
) -> Evaluation:
    """All scores of decisions against the truth, (N, T, C) bool each."""
    four = (*decisions, *truth)
    crowded = overlapping(*truth)

    def subset(chosen: NDArray[np.bool_]) -> Subset:
        count = int(chosen.sum())
        return Subset(count, score(*(part[chosen] for part in four)) if count else None)

    return Evaluation(
        split=split,
        source=source,
        labels=tuple(labels),
        whole=subset(np.ones(len(crowded), bool)),
        overlapping=subset(crowded),
        non_overlapping=subset(~crowded),
        classes=dict(zip(labels, class_scores(*four), strict=True)),
        notes=tuple(notes),
    )
