"""What stands in the place of a parser: sentences of classes, compared with the features of each second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.parts import Part
from ..blas_threads import one_blas_thread
from ..errors import SetupError
from ..timeline import SINGLE_MODALITIES, SegmentLabels, SegmentProbabilities
from .logits import score_logits
from .provenance import describe_vocabulary, origin_of
from .rule_registry import RULES
from .similarities import OpenProbabilities, Similarities
from .vocabulary import Vocabulary
from .warnings import default_thresholds_warning

Adapt = Callable[[Mapping[str, NDArray[np.floating]]], Mapping[str, NDArray[np.floating]]]


@dataclass(frozen=True)
class OpenConfig:
    """What is fixed of it.

    Attributes:
        vocabulary: classes, background, rule.
        audio_dim: width of the features of sounds.
        visual_dim: width of the features of pictures.
        decision: "open", its own.
    """

    vocabulary: Vocabulary
    audio_dim: int
    visual_dim: int
    decision: str = "open"
    decision_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C classes."""
        return self.vocabulary.labels

    @property
    def segments(self) -> int:
        """Seconds of a window."""
        return self.vocabulary.rule.window


class OpenVocabulary:
    """Compares the features of seconds with the sentences of classes.

    Args:
        config: classes, background, rule.
        texts: modality -> (K, D) embeddings of the vocabulary's entries, of length 1; NaN without a sentence.
        warnings: for users of the results.
        logit_scales: modality -> what a cosine is multiplied with to be a logit; for thresholds of logits.
        weights: modality -> what identifies its extractor's weights, for `Vocabulary.with_thresholds`.
        adapt: modality -> features (T, D), to features that are compared with the sentences in their place.

    Attributes:
        parts: of other packages; there are none.
        warnings: about the classes, see `about_classes`.
        weights: modality -> what identifies its extractor's weights; empty where it is not known.

    Raises:
        ValueError: thresholds are of logits, and a modality has no scale of its logits.
    """

    parts: tuple[Part, ...] = ()

    def __init__(
        self,
        config: OpenConfig,
        texts: Mapping[str, NDArray[np.float32]],
        warnings: Sequence[str] = (),
        logit_scales: Mapping[str, float] = MappingProxyType({}),
        weights: Mapping[str, str] = MappingProxyType({}),
        *,
        adapt: Adapt | None = None,
    ) -> None:
        self._adapt = adapt
        self.config, self.warnings, self.weights, self._scales = config, tuple(warnings), weights, logit_scales
        if config.vocabulary.scale == "logits" and (missing := [m for m in SINGLE_MODALITIES if m not in logit_scales]):
            raise ValueError(f"thresholds are of logits, and the teacher for {missing[0]} has no scale of its logits")
        self.texts = {modality: np.asarray(texts[modality], np.float64) for modality in SINGLE_MODALITIES}

    def to(self, device: object) -> OpenVocabulary:  # noqa: ARG002 - it computes in NumPy
        """Return itself."""
        return self

    def eval(self) -> OpenVocabulary:
        """Return itself."""
        return self

    def predict(self, streams: Sequence[NDArray[np.floating]]) -> OpenProbabilities:
        """Score the seconds of one video.

        Args:
            streams: features of T seconds: of sounds (T, audio_dim), and of pictures (T, visual_dim).

        Returns:
            (T, C) scores, with the similarities that they come from. They are those of features in float16, as these
            are kept, so that kept features give the same.

        Raises:
            SetupError: features are not finite in float16.
        """
        rows = dict(zip(SINGLE_MODALITIES, streams, strict=True))
        with np.errstate(over="ignore"):  # what is beyond float16 is told below
            rounded = {modality: values.astype(np.float16) for modality, values in rows.items()}
        if wrong := [modality for modality, values in rounded.items() if not np.isfinite(values).all()]:
            raise SetupError(f"features for {wrong[0]} are not finite, or too large for float16")
        found = rounded if self._adapt is None else self._adapt(rounded)
        with one_blas_thread():
            return self._score(Similarities.of(found, self.texts, len(self.config.labels)))

    def warnings_with(self, thresholds: Mapping[str, NDArray[np.float64]]) -> tuple[str, ...]:
        """Return what users of the results should know about the classes and the thresholds.

        Args:
            thresholds: modality -> (C,), that decide.
        """
        vocabulary = self.config.vocabulary
        if self._adapt is None and origin_of(vocabulary, thresholds) == "default":  # an adapter was trained for them
            return (default_thresholds_warning(vocabulary), *self.warnings)
        return self.warnings

    def describe(self, thresholds: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
        """Return what a timeline records of the classes, JSON-ready, see `describe_vocabulary`.

        Args:
            thresholds: modality -> (C,), that decide.
        """
        return describe_vocabulary(self.config.vocabulary, texts=self.texts, thresholds=thresholds)

    def without_streams(self, probabilities: OpenProbabilities, *, audio: bool, visual: bool) -> OpenProbabilities:
        """Score a video again whose file lacks a stream: scores of silence or of no picture are no scores."""
        if audio and visual:
            return probabilities
        assert probabilities.similarities is not None
        with one_blas_thread():
            return self._score(probabilities.similarities.of_streams(audio=audio, visual=visual))

    def decide(
        self, probabilities: SegmentProbabilities, thresholds: Mapping[str, NDArray[np.float64]]
    ) -> SegmentLabels:
        """Decide which class is active in which second.

        Args:
            probabilities: of `predict`.
            thresholds: modality -> (C,).

        Returns:
            (T, C) labels.
        """
        assert isinstance(probabilities, OpenProbabilities) and probabilities.similarities is not None
        rule = self.config.vocabulary.rule
        scores = {modality: getattr(probabilities, modality) for modality in SINGLE_MODALITIES}
        with one_blas_thread():
            return SegmentLabels(**RULES[rule.name].decide(scores, probabilities.similarities, thresholds, rule))

    def _score(self, similarities: Similarities) -> OpenProbabilities:
        vocabulary = self.config.vocabulary
        if vocabulary.scale == "logits":
            scores = score_logits(similarities, vocabulary, self._scales)
        else:
            scores = RULES[vocabulary.rule.name].score(similarities, vocabulary.rule)
        tables = [scores[modality].astype(np.float32) for modality in SINGLE_MODALITIES]
        videos = [np.broadcast_to(table.max(axis=0, keepdims=True), table.shape) for table in tables]
        return OpenProbabilities(*tables, *videos, similarities=similarities)
