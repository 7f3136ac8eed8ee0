"""What users of the results should know about their classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...weights.messages import shown
from .sentences import SAME
from .vocabulary import Vocabulary

if TYPE_CHECKING:  # files of thresholds need no torch, whose import takes seconds
    from ...extractors.texts.base import TextEncoder

# Without a background, fewer cannot reach the usual thresholds of scores by deviations: z is below (C - 1) / sqrt(C).
FEW_CLASSES = 4
_RULES_OF_MANY = ("av2a", "fixed")  # whose scores are
_WORDS = {"visual": "seen", "audio": "heard"}
_MOST = 3  # names in a warning
_BLOCK = 512  # classes that are compared with the others at a time


def default_thresholds_warning(vocabulary: Vocabulary) -> str:
    """Return the warning about thresholds that nobody has chosen."""
    others = "each other" if not vocabulary.background else "each other and with a background list"
    return (
        f"the thresholds are defaults: scores compare the classes with {others}; nobody checked them on your videos:"
        " avvp calibrate"
    )


def about_classes(
    vocabulary: Vocabulary,
    texts: Mapping[str, NDArray[np.float32]],
    encoders: Mapping[str, TextEncoder],
    weights: Mapping[str, str],
) -> tuple[str, ...]:
    """Return the warnings about a list of classes, whatever the video.

    Args:
        vocabulary: what is looked for.
        texts: modality -> (K, D), the embeddings of its entries, the classes first; NaN without a sentence.
        encoders: modality -> text encoder.
        weights: modality -> what identifies its extractor's weights; empty if it is not known.

    Returns:
        One line each.
    """
    return (
        *_about_few_classes(vocabulary),
        *_about_conditions(vocabulary, weights),
        *_about_same(vocabulary, texts),
        *_about_cut(vocabulary, encoders),
    )


def _about_few_classes(vocabulary: Vocabulary) -> Iterator[str]:
    """Without a background, one class has nothing to be compared with, and most rules need more than a few."""
    if vocabulary.background or vocabulary.scale != "relative":
        return
    least = FEW_CLASSES if vocabulary.rule.name in _RULES_OF_MANY else 2
    few: dict[int, list[str]] = {}
    for modality, word in _WORDS.items():
        count = sum(bool(item.sentences(modality)) for item in vocabulary.classes)
        if 0 < count < least:
            few.setdefault(count, []).append(word)
    for count, words in few.items():
        asked = " and ".join(words)
        if count == 1:
            yield (
                f"no background, and 1 class to be {asked}: it has nothing to be compared with, and is never found;"
                " name more, or leave out --background none"
            )
        else:
            yield (
                f"no background, and {count} classes to be {asked}: scores compare the classes with each other, and"
                f" those of fewer than {FEW_CLASSES} hardly reach a threshold; name more, or leave out --background"
                " none"
            )


def _about_conditions(vocabulary: Vocabulary, weights: Mapping[str, str]) -> Iterator[str]:
    """Thresholds that were calibrated with other teachers, another rule or background are no better than defaults."""
    now, then = vocabulary.conditions(**weights), vocabulary.calibrated_with
    names = {"rule": "rule", "background": "background"}
    if weights:
        names |= {modality: f"teacher for what is {word}" for modality, word in _WORDS.items()}
    if other := [text for name, text in names.items() if name in then and now.get(name) != then[name]]:
        yield f"the thresholds were calibrated with another {' and another '.join(other)}: calibrate again"


def _about_same(vocabulary: Vocabulary, texts: Mapping[str, NDArray[np.float32]]) -> Iterator[str]:
    """Two classes that say the same to a teacher cannot be told from one another."""
    labels, words_of = vocabulary.labels, dict[str, list[str]]()
    for modality, word in _WORDS.items():
        pairs, count = same_pairs(np.asarray(texts[modality][: len(labels)], np.float32))
        if pairs:
            named = "; ".join(f"{shown(labels[first])} and {shown(labels[second])}" for first, second in pairs)
            more = f", and {count - len(pairs):,} more pairs," if count > len(pairs) else ""
            words_of.setdefault(named + more, []).append(word)
    for names, words in words_of.items():
        yield (
            f"{names} can hardly be told apart when they are {' or '.join(words)}: their sentences mean nearly the same"
        )


def same_pairs(rows: NDArray[np.float32]) -> tuple[list[tuple[int, int]], int]:
    """Find rows whose cosine exceeds `SAME`.

    Args:
        rows: (C, D) of length 1; NaN for none.

    Returns:
        The indices of the first pairs, the smaller first, and how many there are.
    """
    known = np.flatnonzero(~np.isnan(rows[:, 0])) if len(rows) else np.zeros(0, int)
    values, count = rows[known], 0
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(values), _BLOCK):
        near = np.triu(values[start : start + _BLOCK] @ values[start:].T > SAME, 1)
        if found := int(np.count_nonzero(near)):
            places = np.flatnonzero(near)[: _MOST - len(pairs)]
            firsts, seconds = np.unravel_index(places, near.shape)
            pairs += [(int(known[start + i]), int(known[start + j])) for i, j in zip(firsts, seconds, strict=True)]
            count += found
    return pairs, count


def _about_cut(vocabulary: Vocabulary, encoders: Mapping[str, TextEncoder]) -> Iterator[str]:
    """Of a long sentence, a teacher reads the beginning only."""
    for modality, encoder in encoders.items():
        if encoder.max_tokens is None:
            continue
        of_class = [(item.label, text) for item in vocabulary.classes for text in item.sentences(modality)]
        counts = encoder.count_tokens([text for _, text in of_class])
        cut = {label: count for (label, _), count in zip(of_class, counts, strict=True) if count > encoder.max_tokens}
        if cut:
            names = ", ".join(map(shown, list(cut)[:_MOST])) + (", ..." if len(cut) > _MOST else "")
            yield (
                f"a sentence of {names} to be {_WORDS[modality]} has {max(cut.values())} tokens, of which the teacher"
                f" reads {encoder.max_tokens}: shorten it"
            )
