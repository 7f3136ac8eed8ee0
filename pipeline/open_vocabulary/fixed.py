"""The plain rule: a class is active where its score exceeds its threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .similarities import Similarities
from .vocabulary import RuleSettings


class Fixed:
    """Scores relative to the classes and the background of each second; active above the threshold."""

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, NDArray[np.float64]]:  # noqa: ARG002
        """Return modality -> (T, C) scores, see `Rule.score`."""
        return {modality: similarities.relative(modality) for modality in similarities.embeddings}

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,  # noqa: ARG002
        thresholds: Mapping[str, NDArray[np.float64]],
        settings: RuleSettings,  # noqa: ARG002
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C) decisions, see `Rule.decide`."""
        return {modality: scores[modality] > thresholds[modality] for modality in scores}
