"""The rules by name: how scores come from similarities, and decisions from scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .av2a import Av2a
from .fixed import Fixed, OvAvel
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


class InOrder:
    """A rule that computes in an order of the entries which follows from their texts.

    Sums of floating-point numbers depend on their order: so, the order of the list changes not one bit of the result.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, NDArray[np.float64]]:
        """Return modality -> (T, C) scores, see `Rule.score`."""
        ordered, places = _in_order(similarities)
        scores = self._rule.score(ordered, settings)
        return {modality: table[:, places] for modality, table in scores.items()}

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,
        thresholds: Mapping[str, NDArray[np.float64]],
        settings: RuleSettings,
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C) decisions, see `Rule.decide`."""
        ordered, places = _in_order(similarities)
        back = np.argsort(places)
        moved = {modality: table[:, back] for modality, table in scores.items()}
        levels = {modality: np.asarray(thresholds[modality])[back] for modality in scores}
        labels = self._rule.decide(moved, ordered, levels, settings)
        return {modality: table[:, places] for modality, table in labels.items()}


def _in_order(similarities: Similarities) -> tuple[Similarities, NDArray[np.intp]]:
    """Return the similarities with classes and background in order, and the new place of each class, (C,)."""
    tables = list(similarities.texts.values())
    keys = [b"".join(row.tobytes() for row in rows) for rows in zip(*tables, strict=True)]
    number = similarities.classes
    order = [*sorted(range(number), key=keys.__getitem__), *sorted(range(number, len(keys)), key=keys.__getitem__)]
    texts = {modality: table[order] for modality, table in similarities.texts.items()}
    return replace(similarities, texts=texts), np.argsort(order[:number])


RULES: dict[str, Rule] = {
    name: InOrder(rule)
    for name, rule in {"av2a": Av2a(), "scope": Scope(), "fixed": Fixed(), "ov-avel": OvAvel()}.items()
}
