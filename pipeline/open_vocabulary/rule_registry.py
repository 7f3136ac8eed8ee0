"""The rules by name: how scores come from similarities, and decisions from scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .av2a import Av2a
from .fixed import Fixed
from .scope import Scope
from .similarities import Similarities
from .vocabulary import RuleSettings


class Rule(Protocol):
    """A rule. Tables of a modality that the file lacks are zeros; of a class without a sentence, its column."""

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, NDArray[np.float64]]:
        """Return modality -> (T, C) scores of the classes in [0, 1]."""
        ...

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,
        thresholds: Mapping[str, NDArray[np.float64]],
        settings: RuleSettings,
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C), whether a class is active; `thresholds` are modality -> (C,)."""
        ...


RULES: dict[str, Rule] = {"av2a": Av2a(), "scope": Scope(), "fixed": Fixed()}
