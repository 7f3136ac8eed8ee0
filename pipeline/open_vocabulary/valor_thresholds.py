"""VALOR's sentences and thresholds for the 25 classes of LLP, where these are looked for with VALOR's teachers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..text_files import read_bytes
from .class_files import parse_vocabulary
from .vocabulary import MODALITY_KEYS, OpenClass, Vocabulary, default_sentences, normalized

_VALOR = Path(__file__).parents[1] / "pseudo_labeling" / "valor.toml"
_TEACHERS = ("clap", "clip")


def with_valor_thresholds(vocabulary: Vocabulary, extractors: Collection[str]) -> Vocabulary:
    """Return a list with VALOR's sentences and thresholds of logits, if they are known for all of its classes.

    Args:
        vocabulary: what is looked for.
        extractors: names of the extractors.

    Returns:
        The list itself, unless it has the rule fixed, no thresholds and no sentences of its own, and only names of
        LLP's classes, and the extractors are VALOR's. Scores are then not compared with each other: `score_logits`.

    Source:
        VALOR (Lai, Chen, Wang, NeurIPS 2023), its thresholds of CLIP ViT-L/14 and LAION's CLAP for LLP.
    """
    if vocabulary.rule.name != "fixed" or vocabulary.origin != "default" or set(extractors) != set(_TEACHERS):
        return vocabulary
    known = _known_classes()
    if not all(normalized(item.label) in known and _is_plain(item) for item in vocabulary.classes):
        return vocabulary
    classes = []
    for item in vocabulary.classes:
        valor = known[normalized(item.label)]
        switched_on = {key: getattr(valor, key) if getattr(item, key) else () for key in MODALITY_KEYS.values()}
        classes.append(replace(valor, label=item.label, **switched_on))
    return replace(vocabulary, classes=tuple(classes), origin="valor", scale="logits")


@cache
def _known_classes() -> dict[str, OpenClass]:
    classes = parse_vocabulary(read_bytes(_VALOR), name="fixed").classes
    return {normalized(item.label): item for item in classes}


def _is_plain(item: OpenClass) -> bool:
    """Return whether the sentences of a class follow from its name."""
    return all(item.sentences(name) in ((), default_sentences(name, item.label)) for name in MODALITY_KEYS)
