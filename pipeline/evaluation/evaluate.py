"""Evaluate decisions on one split: ten F-scores, by subset and by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.clips import SplitDataset
from ..inference.thresholds import Thresholds
from ..metrics import Scores, class_scores, overlapping, score
from ..timeline import SegmentLabels

if TYPE_CHECKING:  # scoring files of events needs no torch, whose import takes seconds
    import torch

    from ...models.parser import AVParser
    from ..inference.decisions import Decision


@dataclass(frozen=True)
class Subset:
    """Scores of a subset of the clips."""

    clips: int  # number of clips
    scores: Scores | None  # None if there are no clips


@dataclass(frozen=True)
class Evaluation:
    """Scores of one system on one split."""

    split: str
    source: str  # name of the parser or of the folder that was scored
    labels: tuple[str, ...]
    whole: Subset
    overlapping: Subset  # clips with two or more events of one modality in some second
    non_overlapping: Subset  # the other clips
    classes: dict[str, Scores | None]  # class -> scores of that class only; None if it does not occur
    notes: tuple[str, ...] = field(default=())  # for the reader, e.g. how many clips were not scored

    @property
    def scores(self) -> Scores:
        """Scores of all clips."""
        assert self.whole.scores is not None  # a split has clips
        return self.whole.scores

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: scores in percent, null where no clip could be scored."""

        def to_json(scores: Scores | None) -> dict[str, Any] | None:
            return None if scores is None else scores.to_dict()

        subsets = {name: getattr(self, name) for name in ("whole", "overlapping", "non_overlapping")}
        return {
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "scores": to_json(self.scores),
            "subsets": {name: {"clips": part.clips, "scores": to_json(part.scores)} for name, part in subsets.items()},
            "classes": {label: to_json(scores) for label, scores in self.classes.items()},
        }


def score_clips(
    parser: AVParser, clips: SplitDataset, device: torch.device, decision: Decision | None = None
) -> Scores:
    """Score a parser on a split with the thresholds of its configuration, mostly 0.5.

    Args:
        parser: on `device`; it is set to evaluation mode.
        clips: with annotated labels.
        device: where the features are moved to.
        decision: None for the rule of its configuration, `Thresholds.decide`.

    Returns:
        The ten F-scores.
    """
    from ..inference.predict import predict_clips

    thresholds = Thresholds.published(parser.config)
    predictions = predict_clips(parser, clips, device)
    labels = thresholds.decide(predictions) if decision is None else decision(predictions, thresholds)
    return score(*labels, *clips.segment_labels)


def evaluate(
    decisions: SegmentLabels,
    truth: SegmentLabels,
    *,
    split: str,
    source: str,
    labels: Sequence[str],
    notes: Sequence[str] = (),
) -> Evaluation:
    """Score decisions on all clips, on those with and without overlapping events, and by class.

    Args:
        decisions: (N, T, C) predicted labels.
        truth: (N, T, C) annotated labels.
        split: name of the split.
        source: name of the system.
        labels: C class names.
        notes: for the reader of the scores.

    Returns:
        The scores.
    """
    tables = (*decisions, *truth)
    has_overlap = overlapping(*truth)

    def subset(selected: NDArray[np.bool_]) -> Subset:
        count = int(selected.sum())
        return Subset(count, score(*(table[selected] for table in tables)) if count else None)

    return Evaluation(
        split=split,
        source=source,
        labels=tuple(labels),
        whole=subset(np.ones(len(has_overlap), bool)),
        overlapping=subset(has_overlap),
        non_overlapping=subset(~has_overlap),
        classes=dict(zip(labels, class_scores(*tables), strict=True)),
        notes=tuple(notes),
    )
