"""What a timeline records of the classes that were looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vocabulary import MODALITY_KEYS, Origin, Vocabulary


def origin_of(vocabulary: Vocabulary, thresholds: Mapping[str, NDArray[np.float64]]) -> Origin:
    """Return where thresholds come from: they are given if they are not those of the vocabulary.

    Args:
        vocabulary: what is looked for.
        thresholds: modality -> (C,), that decide.
    """
    same = all(np.array_equal(values, vocabulary.thresholds(modality)) for modality, values in thresholds.items())
    return vocabulary.origin if same else "given"


def describe_vocabulary(
    vocabulary: Vocabulary,
    *,
    texts: Mapping[str, NDArray[np.floating]] | None = None,
    thresholds: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[str, Any]:
    """Describe how classes were found by their names.

    Args:
        vocabulary: what was looked for.
        texts: modality -> (K, D) of its entries, NaN for those that are not compared.
        thresholds: modality -> (C,), that decided, if others than the vocabulary's may have.

    Returns:
        A JSON-ready mapping: the rule, the sentences, what scores are relative to, where the thresholds come from, and
        the background, with its entries that were not compared, because a class has the same name or meaning.
    """
    number = len(vocabulary.classes)
    compared = frozenset(vocabulary.everything[number:])
    if texts is not None:
        known = np.any([~np.isnan(rows[number:, 0]) for rows in texts.values()], axis=0)
        compared = {item for item, is_known in zip(vocabulary.everything[number:], known, strict=True) if is_known}
    described: dict[str, Any] = {
        "rule": asdict(vocabulary.rule),
        "scale": vocabulary.scale,
        "classes": [{"label": item.label, "seen": item.seen, "heard": item.heard} for item in vocabulary.classes],
        "thresholds": vocabulary.origin if thresholds is None else origin_of(vocabulary, thresholds),
        "background": {
            "name": vocabulary.background_name,
            "entries": len(vocabulary.background),
            "left_out": [item.label for item in vocabulary.background if item not in compared],
            "hash": vocabulary.background_hash,
        },
    }
    if vocabulary.scale == "logits":
        described["logit_thresholds"] = {name: vocabulary.logit_thresholds(name) for name in MODALITY_KEYS}
    return described
