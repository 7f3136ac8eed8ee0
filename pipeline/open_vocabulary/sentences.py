"""Embeddings of the classes: sentences of a class are encoded one by one, and averaged as unit vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...extractors.texts.base import TextEncoder
from .vocabulary import Vocabulary


def embed_vocabulary(vocabulary: Vocabulary, encoders: Mapping[str, TextEncoder]) -> dict[str, NDArray[np.float32]]:
    """Encode the sentences of all classes and of the background.

    Args:
        vocabulary: what is looked for.
        encoders: modality -> text encoder.

    Returns:
        Modality -> (K, D), of length 1; rows of entries without a sentence are NaN.
    """
    tables = {}
    for modality, encoder in encoders.items():
        sentences = [item.sentences(modality) for item in vocabulary.everything]
        unique = list(dict.fromkeys(text for texts in sentences for text in texts))
        rows = dict(zip(unique, encoder.encode(unique).numpy(), strict=True))
        table = np.full((len(sentences), encoder.dim), np.nan, np.float32)
        for place, texts in enumerate(sentences):
            if texts:
                mean = np.mean([rows[text] for text in texts], axis=0, dtype=np.float64)
                table[place] = mean / max(np.linalg.norm(mean), 1e-12)
        tables[modality] = table
    return tables
