"""Embeddings with known similarities, for the rules of open vocabularies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from avvp.pipeline.open_vocabulary.similarities import Similarities
from numpy.typing import NDArray

DIM = 64


def texts(entries: int, seed: int = 0) -> NDArray[np.float64]:
    """(entries, DIM) directions that are nearly at right angles."""
    rows = np.random.default_rng([seed, entries]).standard_normal((entries, DIM))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scene(
    seconds: int,
    events: Sequence[tuple[str, int, int, int]],
    *,
    classes: int = 3,
    entries: int = 30,
    seed: int = 0,
    noise: float = 0.05,
) -> Similarities:
    """Seconds of noise around the mean of all texts, with events: modality, class, onset, offset."""
    table = {"audio": texts(entries, seed), "visual": texts(entries, seed + 1)}
    random = np.random.default_rng([seed, seconds])
    rows = {name: table[name].mean(axis=0) + noise * random.standard_normal((seconds, DIM)) for name in table}
    for modality, index, onset, offset in events:
        rows[modality][onset:offset] += table[modality][index]
    return Similarities.of(rows, table, classes)


def reordered(similarities: Similarities, order: Sequence[int]) -> Similarities:
    """The same with its classes in another order; the background stays."""
    everything = [*order, *range(similarities.classes, len(similarities.texts["audio"]))]
    moved = {modality: rows[everything] for modality, rows in similarities.texts.items()}
    return Similarities(similarities.classes, similarities.embeddings, moved, similarities.has)
