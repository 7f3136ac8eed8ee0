"""Evaluate an open bundle, for the classes that the user names, on embeddings and annotations of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.annotations import Annotations
from ..datasets.localization import find_event_targets
from ..inference.bundle import LoadedBundle
from ..inference.thresholds import Thresholds
from ..timeline import SINGLE_MODALITIES, SegmentLabels
from .evaluate import Evaluation, evaluate
from .localization import LocalizationEvaluation, classes_of_seconds, evaluate_localization
from .open_clips import OpenClip, open_network, read_open_clips, stack_labels
from .open_evaluation import evaluate_rankings
from .ov_avel import OvAvelEvaluation, score_ov_avel, unseen_rows
from .ranking import RankingEvaluation
from .scored_classes import select_classes


@dataclass(frozen=True, eq=False)
class OpenEvaluator:
    """An open bundle with the data to score it on.

    Attributes:
        loaded: the bundle; its classes are scored.
        annotations: of a data set that has at least one of them.
        features: see `read_open_clips`.
        split: name of the split.
        allow_missing: score only the clips that have embeddings; notes state their number.
        progress: called with the number of clips done and the total.
    """

    loaded: LoadedBundle
    annotations: Annotations
    features: Path
    split: str
    allow_missing: bool = False
    progress: Callable[[int, int], None] = lambda _done, _total: None

    def rank(self) -> RankingEvaluation:
        """Rank the seconds by the scores; thresholds have no part. Raises as `evaluate`."""
        annotations, clips, notes = self._read()
        scores = []
        for done, clip in enumerate(clips, 1):
            found = clip.predict(open_network(self.loaded))
            scores.append({modality: getattr(found, modality) for modality in SINGLE_MODALITIES})
            self.progress(done, len(clips))
        rows = [clip.row for clip in clips]
        return evaluate_rankings(annotations, self.split, rows, scores, source=self.loaded.name, notes=notes)

    def evaluate(self, thresholds: Thresholds) -> Evaluation | LocalizationEvaluation:
        """Score the decisions: by accuracy where the data set has one event a clip.

        Args:
            thresholds: of the bundle's classes.

        Returns:
            The scores.

        Raises:
            DatasetError: none of the classes is annotated, or embeddings are missing or damaged.
            FeatureMismatchError: the embeddings are of other extractors.
        """
        annotations, _, decisions, truth, notes = self._decide(thresholds)
        if annotations.task == "avel":
            lengths = np.full(len(truth.audio), annotations.segments)
            true = classes_of_seconds(find_event_targets(truth, lengths), lengths)
            return evaluate_localization(
                decisions, true, annotations, split=self.split, source=self.loaded.name, notes=notes
            )
        return evaluate(
            decisions, truth, split=self.split, source=self.loaded.name, labels=annotations.labels, notes=notes
        )

    def evaluate_ov_avel(self, thresholds: Thresholds) -> OvAvelEvaluation:
        """Score the decisions by OV-AVEL's measures; arguments and errors as for `evaluate`."""
        _, rows, decisions, truth, notes = self._decide(thresholds)
        parts = score_ov_avel(decisions, truth, unseen_rows(self.annotations, self.split)[rows])
        return OvAvelEvaluation(self.split, self.loaded.name, parts, notes)

    def _decide(
        self, thresholds: Thresholds
    ) -> tuple[Annotations, list[int], SegmentLabels, SegmentLabels, tuple[str, ...]]:
        """Return annotations of the classes, rows of N clips, predicted and true labels (N, T, C), and notes."""
        annotations, clips, notes = self._read()
        labels = []
        for done, clip in enumerate(clips, 1):
            labels.append(clip.decide(self.loaded, clip.predict(open_network(self.loaded)), thresholds))
            self.progress(done, len(clips))
        rows = [clip.row for clip in clips]
        truth = annotations.segment_labels(annotations.split(self.split), annotations.segments).select(rows)
        return annotations, rows, stack_labels(labels, annotations.segments), truth, notes

    def _read(self) -> tuple[Annotations, list[OpenClip], tuple[str, ...]]:
        network = open_network(self.loaded)
        annotations, about_classes = select_classes(self.annotations, network.config.labels)
        clips, about_clips = read_open_clips(
            self.features, annotations, self.split, self.loaded.extractors, allow_missing=self.allow_missing
        )
        return annotations, clips, (*about_classes, *about_clips)
