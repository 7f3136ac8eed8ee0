"""The plain rule: a class is active where its score exceeds its threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .rules import relative_scores
from .similarities import Similarities
from .vocabulary import RuleSettings

# Of the similarities of a second; where they differ less, nothing stands out, and differences are those of rounding.
LEAST_DEVIATION = 1e-3


class Fixed:
    """Scores relative to the classes and the background of each second; active above the threshold."""

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, NDArray[np.float64]]:  # noqa: ARG002
        """Return modality -> (T, C) scores, see `Rule.score`."""
        return {modality: score_relatively(similarities, modality) for modality in similarities.tables}

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,  # noqa: ARG002
        thresholds: Mapping[str, NDArray[np.float64]],
        settings: RuleSettings,  # noqa: ARG002
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C) decisions, see `Rule.decide`."""
        return {modality: scores[modality] > thresholds[modality] for modality in scores}


def score_relatively(similarities: Similarities, modality: str) -> NDArray[np.float64]:
    """Return (T, C) scores of a modality, relative to all entries that have a sentence for it."""
    table = similarities.tables[modality]
    scores = np.zeros((len(table), similarities.classes))
    known = ~np.isnan(similarities.texts[modality][:, 0])
    if similarities.has[modality] and known.sum() > 1:
        values = table[:, known]
        even = values.std(axis=1, ddof=1) < LEAST_DEVIATION
        of_known = relative_scores(values)
        of_known[even] = 0.5
        own = np.flatnonzero(known[: similarities.classes])
        scores[:, own] = of_known[:, : len(own)]
    return scores
