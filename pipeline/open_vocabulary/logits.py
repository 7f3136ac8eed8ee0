"""Scores of classes whose thresholds are of the teachers' logits, as VALOR's: they do not depend on other classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .similarities import Similarities
from .vocabulary import Vocabulary


def score_logits(
    similarities: Similarities, vocabulary: Vocabulary, scales: Mapping[str, float]
) -> dict[str, NDArray[np.float64]]:
    """Compare the logits of classes with their thresholds.

    Args:
        similarities: of T seconds with C classes.
        vocabulary: whose thresholds are of logits.
        scales: modality -> what a cosine is multiplied with to be a logit.

    Returns:
        Modality -> (T, C), the sigmoid of a logit minus the threshold of its class: 0.5 at the threshold. 0 for classes
        without a sentence for the modality, and for all if the file lacks the stream.

    Source:
        VALOR (Lai, Chen, Wang, NeurIPS 2023): a class is active where its logit exceeds its threshold.
    """
    scores = {}
    for modality, rows in similarities.embeddings.items():
        scores[modality] = np.zeros((len(rows), similarities.classes))
        if similarities.has[modality]:
            own = np.flatnonzero(similarities.known(modality)[: similarities.classes])
            above = scales[modality] * (rows @ similarities.texts[modality][own].T)
            above -= np.array(vocabulary.logit_thresholds(modality))[own]
            scores[modality][:, own] = 0.5 * (1 + np.tanh(above / 2))  # the sigmoid, without overflow
    return scores
