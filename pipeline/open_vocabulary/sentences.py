"""Embeddings of the classes: sentences of a class are encoded one by one, and averaged as unit vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .vocabulary import Vocabulary

if TYPE_CHECKING:  # files of thresholds need no torch, whose import takes seconds
    from ...extractors.texts.base import TextEncoder

SAME = 0.95  # cosine of two sentences from which on they mean the same to a teacher


def embed_vocabulary(vocabulary: Vocabulary, encoders: Mapping[str, TextEncoder]) -> dict[str, NDArray[np.float32]]:
    """Encode the sentences of all classes and of the background.

    Args:
        vocabulary: what is looked for.
        encoders: modality -> text encoder.

    Returns:
        Modality -> (K, D), of length 1. Rows of entries without a sentence are NaN, and so are those of the background
        that mean the same as a class: the class takes their place.
    """
    tables = {}
    for modality, encoder in encoders.items():
        sentences = [item.sentences(modality) for item in vocabulary.everything]
        unique = list(dict.fromkeys(text for texts in sentences for text in texts))
        rows = dict(zip(unique, encoder.encode(unique).numpy(), strict=True)) if unique else {}
        table = np.full((len(sentences), encoder.dim), np.nan, np.float32)
        for place, texts in enumerate(sentences):
            if texts:
                mean = np.mean([rows[text] for text in texts], axis=0, dtype=np.float64)
                table[place] = mean / max(np.linalg.norm(mean), 1e-12)
        count = len(vocabulary.classes)
        table[count:][_mean_the_same(table[count:], table[:count])] = np.nan
        tables[modality] = table
    return tables


def _mean_the_same(background: NDArray[np.float32], classes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows of the background have a cosine above `SAME` with a row of a class."""
    known = classes[~np.isnan(classes[:, 0])]
    return (background @ known.T > SAME).any(axis=1)  # NaN is not above
