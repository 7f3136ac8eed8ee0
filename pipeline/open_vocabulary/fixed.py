"""The rules without settings: thresholds alone, and OV-AVEL's one class a second that is both heard and seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ..timeline import SINGLE_MODALITIES
from .published import open_probabilities
from .similarities import Similarities, blocks
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


class OvAvel:
    """One class a second that is both heard and seen, as the fine-tuned baseline decides.

    Scores are roots of the products of both similarities, from 0 for the least of all entries to 1 for the most. Both
    modalities have the same.

    Source:
        OV-AVEL (CVPR 2025), its fine-tuned baseline; see `models/open/adapter.py`.
    """

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, NDArray[np.float64]]:  # noqa: ARG002
        """Return modality -> (T, C) scores, see `Rule.score`."""
        table, entries = np.zeros(_shape(similarities)), _entries(similarities)
        own = entries < similarities.classes
        for block, scores in _compare(similarities, entries):
            table[block, entries[own]] = scores[:, own]
        return dict.fromkeys(SINGLE_MODALITIES, table)

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,
        thresholds: Mapping[str, NDArray[np.float64]],
        settings: RuleSettings,  # noqa: ARG002
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C) decisions, see `Rule.decide`."""
        first, entries = np.zeros(_shape(similarities), bool), _entries(similarities)
        for block, compared in _compare(similarities, entries):
            best = entries[compared.argmax(axis=1)]
            first[block] = best[:, None] == np.arange(similarities.classes)
        for modality, table in scores.items():
            first = first & (table > thresholds[modality])
        return dict.fromkeys(scores, first)


def _shape(similarities: Similarities) -> tuple[int, int]:
    """Return (T, C)."""
    return max(map(len, similarities.embeddings.values())), similarities.classes


def _entries(similarities: Similarities) -> NDArray[np.intp]:
    """Return the indices of the entries that have sentences for both modalities."""
    return np.flatnonzero(np.logical_and.reduce([similarities.known(modality) for modality in SINGLE_MODALITIES]))


def _compare(similarities: Similarities, entries: NDArray[np.intp]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield blocks of seconds and the scores of the entries in them; none of a file that lacks a stream."""
    if not all(map(similarities.can_score, SINGLE_MODALITIES)) or not len(entries):
        return
    rows = similarities.embeddings
    texts = {modality: similarities.texts[modality][entries].T for modality in SINGLE_MODALITIES}
    for block in blocks(len(rows["audio"]), len(entries)):
        yield block, open_probabilities(*(rows[modality][block] @ texts[modality] for modality in SINGLE_MODALITIES))
