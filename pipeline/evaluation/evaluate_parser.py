"""Evaluate a parser or a localizer on the features and annotations of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...models.config import ParserConfig
from ...weights.messages import shown
from ..datasets.annotations import Annotations, read_annotations
from ..datasets.clips import SplitDataset, load_clips, load_event_clips
from ..datasets.localization import describe_targets
from ..errors import FeatureMismatchError, SetupError
from ..features.packed_store import open_features
from ..inference.bundle import LoadedParser, check_features
from ..inference.networks import is_localizer
from ..inference.predict import predict_clips
from ..inference.thresholds import Thresholds
from ..text import escape
from ..timeline import SINGLE_MODALITIES, SegmentLabels, SegmentProbabilities
from .evaluate import Evaluation, evaluate
from .localization import LocalizationEvaluation, classes_of_seconds, evaluate_localization
from .open_evaluation import evaluate_rankings
from .ov_avel import OvAvelEvaluation, score_ov_avel, unseen_rows
from .ranking import RankingEvaluation
from .tune_thresholds import choose_visual_thresholds, tune_localization_thresholds, tune_thresholds


class ParserEvaluator:
    """A parser or a localizer with the data to score it on.

    Args:
        loaded: the parser or the localizer.
        annotations: folder of the annotations; their classes must be the parser's.
        features: folder or packed store; as the parser was trained on.
        progress: called with a description; returns a callback for the number of steps done and the total.

    Raises:
        DatasetError: annotations or features cannot be read.
        FeatureMismatchError: features or classes are not the parser's.

    Attributes:
        warnings: what users of the results have to know of the features.
    """

    def __init__(
        self,
        loaded: LoadedParser,
        annotations: Path,
        features: Path,
        *,
        progress: Callable[[str], Callable[[int, int], None]],
    ) -> None:
        self.loaded = loaded
        self.annotations = read_annotations(annotations)
        config = loaded.parser.config
        self.features = open_features(features, frames=isinstance(config, ParserConfig) and config.needs_frames)
        self.progress = progress
        self.warnings = check_features(loaded, self.features.spec, features)
        check_labels(loaded, self.annotations)

    def evaluate(
        self, split: str, thresholds: Thresholds, notes: Sequence[str] = ()
    ) -> Evaluation | LocalizationEvaluation:
        """Score the parser on a split.

        Args:
            split: "train", "val" or "test".
            thresholds: of the parser's classes.
            notes: for the reader of the scores.

        Returns:
            The scores: of a localizer its accuracy.

        Raises:
            DatasetError: the split or features of it are missing.
            SetupError: the parser's probabilities are not finite.
        """
        clips, decisions = self.decide(split, thresholds)
        notes = [*self.warnings, *notes]
        if clips.events is not None:
            truth = classes_of_seconds(clips.events, clips.lengths)
            notes = [*notes, *describe_targets(clips.events, clips.filenames)]
            return evaluate_localization(
                decisions, truth, self.annotations, split=split, source=self.loaded.name, notes=notes
            )
        return evaluate(
            decisions, clips.segment_labels, split=split, source=self.loaded.name, labels=self.annotations.labels,
            notes=notes,
        )  # fmt: skip

    def rank(self, split: str) -> RankingEvaluation:
        """Rank the seconds of a split by the probabilities; thresholds have no part. Raises as `evaluate`."""
        clips = self._load(split)
        found = self._predict(clips)
        scores = [
            {modality: getattr(found, modality)[row, :length] for modality in SINGLE_MODALITIES}
            for row, length in enumerate(clips.lengths)
        ]
        rows = range(len(clips))
        return evaluate_rankings(self.annotations, split, rows, scores, source=self.loaded.name, notes=self.warnings)

    def evaluate_ov_avel(self, split: str, thresholds: Thresholds, notes: Sequence[str] = ()) -> OvAvelEvaluation:
        """Score the decisions by OV-AVEL's measures; arguments and errors as for `evaluate`."""
        _, decisions = self.decide(split, thresholds)
        truth = self.annotations.segment_labels(self.annotations.split(split), decisions.audio.shape[1])
        parts = score_ov_avel(decisions, truth, unseen_rows(self.annotations, split))
        return OvAvelEvaluation(split, self.loaded.name, parts, (*self.warnings, *notes))

    def decide(self, split: str, thresholds: Thresholds) -> tuple[SplitDataset, SegmentLabels]:
        """Parse the clips of a split.

        Args:
            split: "train", "val" or "test".
            thresholds: of the parser's classes.

        Returns:
            N clips, and their labels by the parser, (N, T, C).

        Raises:
            DatasetError: the split or features of it are missing.
            SetupError: the parser's probabilities are not finite.
        """
        clips = self._load(split)
        return clips, self.loaded.decision(self._predict(clips), thresholds)

    def tune(self, method: str = "scores") -> Thresholds:
        """Choose thresholds on the validation split; what is not tuned keeps the thresholds of the bundle.

        Args:
            method: "scores", see `tune_thresholds` and `tune_localization_thresholds`; or "visual-videos", see
                `choose_visual_thresholds`.

        Returns:
            The thresholds.

        Raises:
            SetupError: the thresholds of visual videos decide nothing in this network.
        """
        config, start = self.loaded.parser.config, self.loaded.thresholds
        if method == "visual-videos" and (is_localizer(config) or start.rule.video_filter == "pooled"):
            raise self._without_visual_videos()
        clips = self._load("val")
        predictions = self._predict(clips)
        progress = self.progress("tuning thresholds")
        if method == "visual-videos":
            if start.rule.pooled(predictions) is not None:
                raise self._without_visual_videos()
            truth = clips.segment_labels
            chosen = choose_visual_thresholds(
                predictions, *truth, start=start, progress=progress, decision=self.loaded.decision
            )
            return replace(start, visual_video=chosen)
        tune = tune_thresholds if clips.events is None else tune_localization_thresholds
        return tune(predictions, clips, start, progress, decision=self.loaded.decision)

    def _without_visual_videos(self) -> SetupError:
        return SetupError(
            f"the network of {shown(self.loaded.name)} has no video-level decision of the visual modality alone: tune"
            " by scores"
        )

    def _load(self, split: str) -> SplitDataset:
        load = load_event_clips if is_localizer(self.loaded.parser.config) else load_clips
        return load(self.annotations, split, self.features)

    def _predict(self, clips: SplitDataset) -> SegmentProbabilities:
        return predict_clips(self.loaded.parser, clips, self.loaded.device, self.progress(f"parsing {clips.split}"))


def check_labels(loaded: LoadedParser, annotations: Annotations) -> None:
    """Check that parser and annotations have the same classes in the same order.

    Args:
        loaded: the parser.
        annotations: of the data set.

    Raises:
        FeatureMismatchError: they do not; the message names the differences.
    """
    ours, theirs = loaded.parser.config.labels, annotations.labels
    if ours == theirs:
        return
    only_ours = [label for label in ours if label not in theirs]
    only_theirs = [label for label in theirs if label not in ours]
    if only_ours or only_theirs:
        difference = f"only the parser has {_names(only_ours)}; only the annotations have {_names(only_theirs)}"
    else:
        difference = "the classes are the same, in another order"
    raise FeatureMismatchError(
        f"the parser of {loaded.name!r} ({len(ours)} classes) and the annotations in {escape(annotations.folder)}"
        f" ({len(theirs)} classes) do not match: {difference}"
    )


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(map(escape, labels[:5]))
    return f"{shown}, ..." if len(labels) > 5 else shown or "none"
