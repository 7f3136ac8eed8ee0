"""SCoPE's rule for videos of any length: classes and background compete to explain a second, each modality in turn.

A second has few entries with a weight; a class that another explains has none. What the other modality has of a class
makes it cheaper: a dog that barks in these seconds is easier to see.

It differs from what is published in three things. SCoPE subtracts the mean picture of MS-COCO and the mean sound of
ESC-50, which are not to be had for other teachers; here the penalty is relative to the nearest entry of the second
instead, so that no mean is needed. Scores compare with an entry of weight 0, too, so that one entry alone, and two of
one weight, have high scores. And a clip is a window.

Source:
    SCoPE (2026), as its authors' program computes it, whose licence is not stated: these are its equations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ..timeline import SINGLE_MODALITIES
from .similarities import LEAST_DEVIATION, Similarities, unit_rows
from .sparse import sparse_weights
from .vocabulary import RuleSettings

Array = NDArray[np.float64]

_LEAST_PENALTY = 0.1  # of what it is without the other modality
_USUAL_ENTRIES = 16  # with a weight; scores are less sharp where more have one
_SHARPNESS = (0.25, 1.25)
_BLOCK = 1024  # seconds solved together, at least one window
_CLIP = 10  # seconds of a published clip
_OTHER = {"audio": "visual", "visual": "audio"}


class Scope:
    """Few entries explain a second; those that the other modality has, too, more easily."""

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, Array]:
        """Return modality -> (T, C) scores, see `Rule.score`."""
        seconds = len(similarities.embeddings[SINGLE_MODALITIES[0]])
        scores = {modality: np.zeros((seconds, similarities.classes)) for modality in similarities.embeddings}
        texts = {modality: _centred_texts(similarities, modality) for modality in scores}
        for block, lengths in _blocks(seconds, settings.window):
            for modality, weights in _weigh(similarities, texts, block, lengths, settings).items():
                scores[modality][block] = score_weights(weights)[:, : similarities.classes]
        return scores

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,  # noqa: ARG002
        thresholds: Mapping[str, Array],
        settings: RuleSettings,
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C) decisions, see `Rule.decide`."""
        return {modality: _drop_rare(scores[modality] > thresholds[modality], settings) for modality in scores}


def score_weights(weights: Array) -> Array:
    """Compare the weights of each second with each other.

    Args:
        weights: (T, K) of all entries, 0 or more.

    Returns:
        (T, K): the sigmoid of z over the entries with a weight and one without, with n - 1 in the deviation; sharper
        where few have one. 0 for those without.
    """
    has = weights > 0
    number = has.sum(axis=1, keepdims=True)  # and one of weight 0 besides
    mean = weights.sum(axis=1, keepdims=True) / (number + 1)
    squares = np.where(has, (weights - mean) ** 2, 0).sum(axis=1, keepdims=True) + mean**2
    deviation = np.sqrt(squares / np.maximum(number, 1))
    sharpness = np.clip(number / _USUAL_ENTRIES, *_SHARPNESS)
    z = np.divide(weights - mean, deviation * sharpness, out=np.zeros_like(weights), where=has)
    return np.where(has, 1 / (1 + np.exp(-z)), 0)


def _weigh(
    similarities: Similarities,
    texts: Mapping[str, Array],
    block: slice,
    lengths: NDArray[np.int64],
    settings: RuleSettings,
) -> dict[str, Array]:
    """Return modality -> (W, K) weights of a block of windows, of modalities that can be scored."""
    starts = np.cumsum(lengths) - lengths
    modalities = [modality for modality in texts if similarities.can_score(modality)]
    first = {m: _solve(similarities, texts, m, block, settings.penalty) for m in modalities}
    shares = {m: first[m] / np.maximum(first[m].max(axis=1, keepdims=True), 1e-12) for m in modalities}
    found = {}
    for modality in modalities:
        if (other := _OTHER[modality]) in shares:
            evidence = shares[other] * _explained(similarities, texts, other, block, first[other])
            best = np.maximum.reduceat(shares[other], starts, axis=0)
            support = np.repeat(best, lengths, axis=0) * (1 + settings.kappa * evidence)
            factors = np.clip(np.exp(-settings.eta * support), _LEAST_PENALTY, 1)
            found[modality] = _solve(similarities, texts, modality, block, settings.penalty * factors)
        else:
            found[modality] = first[modality]
    return found


def _solve(
    similarities: Similarities, texts: Mapping[str, Array], modality: str, block: slice, penalty: float | Array
) -> Array:
    """Return (W, K) weights. The penalty 1 is where not even the nearest entry of a second has a weight."""
    rows = similarities.embeddings[modality][block]
    known = similarities.known(modality)
    nearest = (rows @ texts[modality][known].T).max(axis=1, keepdims=True)
    penalties = 2 * np.maximum(nearest, 0) * np.broadcast_to(penalty, (len(rows), len(known)))
    weights = np.zeros((len(rows), len(known)))
    weights[:, known] = sparse_weights(rows, texts[modality][known], penalties[:, known])
    alike = (rows @ similarities.texts[modality][known].T).std(axis=1, ddof=1) < LEAST_DEVIATION
    weights[alike] = 0
    return weights


def _explained(
    similarities: Similarities, texts: Mapping[str, Array], modality: str, block: slice, weights: Array
) -> Array:
    """Return (W, 1): how well weights explain what is near the entries, as the cosine, 0 at the least."""
    near = similarities.embeddings[modality][block] @ texts[modality].T
    explained = weights @ (texts[modality] @ texts[modality].T)
    return np.maximum((unit_rows(near) * unit_rows(explained)).sum(axis=1, keepdims=True), 0)


def _centred_texts(similarities: Similarities, modality: str) -> Array:
    """Return (K, D) texts minus their mean, in length 1; zeros without a sentence."""
    known = similarities.known(modality)
    texts = np.zeros_like(similarities.texts[modality])
    if known.any():
        own = similarities.texts[modality][known]
        texts[known] = unit_rows(own - own.mean(axis=0))
    return texts


def _blocks(seconds: int, window: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield what is solved together: seconds, and the lengths of their windows, nearly equal, so that none is short."""
    number = -(-seconds // window)
    edges = np.arange(number + 1) * seconds // max(number, 1)
    step = max(1, _BLOCK // window)
    for first in range(0, number, step):
        part = edges[first : first + step + 1]
        yield slice(int(part[0]), int(part[-1])), np.diff(part)


def _drop_rare(active: NDArray[np.bool_], settings: RuleSettings) -> NDArray[np.bool_]:
    """Return (T, C) decisions without those of classes that are active in too few of the ten seconds around."""
    seconds = len(active)
    sums = np.concatenate([np.zeros((1, active.shape[1]), np.int64), np.cumsum(active, axis=0)])
    first = np.clip(np.arange(seconds) - _CLIP // 2, 0, max(seconds - _CLIP, 0))
    around = sums[np.minimum(first + _CLIP, seconds)] - sums[first]
    return active & (around >= min(settings.min_seconds, seconds, _CLIP))
