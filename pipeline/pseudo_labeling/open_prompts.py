"""Prompts of classes by their names, whose scores an open vocabulary's rule decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..open_vocabulary.vocabulary import Vocabulary
from .prompts import MODALITY_KEYS, Prompts

_MAX_LOGIT = 60.0  # of scores of 0 and 1, whose logits are not finite


@dataclass(frozen=True)
class OpenPrompts(Prompts):
    """Sentences and thresholds of a vocabulary. Its rule decides; thresholds here are logits of those of its scores.

    Attributes:
        vocabulary: classes, background and rule.
    """

    vocabulary: Vocabulary

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> OpenPrompts:
        """Return the prompts of a vocabulary."""
        columns = {}
        for modality in MODALITY_KEYS:
            sentences = tuple(" ".join(item.sentences(modality)) for item in vocabulary.classes)
            thresholds = to_logits(vocabulary.thresholds(modality)).astype(float).tolist()
            columns |= {f"{modality}_prompts": sentences, f"{modality}_thresholds": tuple(thresholds)}
        return cls(labels=vocabulary.labels, vocabulary=vocabulary, **columns)

    @property
    def origin(self) -> str:
        """Where the thresholds come from, for the record."""
        return self.vocabulary.origin

    def select(self, labels: Sequence[str]) -> OpenPrompts:
        """Return the prompts of these classes, in this order. Raises ValueError for an unknown class."""
        classes = tuple(self.vocabulary.classes[self.labels.index(label)] for label in labels)
        return OpenPrompts.of(replace(self.vocabulary, classes=classes))

    def to_toml(self) -> str:
        """Return the content of a file that `--classes @FILE` reads."""
        return self.vocabulary.to_toml()


def to_logits(scores: ArrayLike) -> NDArray[np.float32]:
    """Return the logits of scores.

    Args:
        scores: in [0, 1], of any shape.

    Returns:
        Numbers between -60 and 60, whose sigmoid is the score; equal and greater scores have equal and greater logits.
    """
    values = np.asarray(scores, np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(values) - np.log1p(-values)
    return np.clip(logits, -_MAX_LOGIT, _MAX_LOGIT).astype(np.float32)
