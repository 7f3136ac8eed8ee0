"""From which logit on a class is believed: chosen by a few dense labels, or by how the logits are spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BINS = 128


def best_threshold(scores: NDArray[np.floating], truth: NDArray[np.bool_], otherwise: float) -> float:
    """The threshold with the highest F1 over seconds, `score > threshold` being a yes; scores and truth (N,).

    It lies half-way between two scores. Where the truth never says yes, or no threshold finds anything: `otherwise`.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order].astype(np.float64), truth[order]
    hits = np.cumsum(right)
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + right.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # no threshold parts equal scores
    if not right.any():
        return otherwise
    best = int(np.argmax(f1))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1.0
    return float((ranked[best] + below) / 2)


def split_threshold(scores: NDArray[np.floating], otherwise: float) -> float:
    """The threshold that parts the scores (N,) into two groups most unlike each other (Otsu 1979).

    Of 128 places between the smallest and the largest score, the one with the largest variance between the groups.
    Where several places are as good, the middle of them; `otherwise` where there are fewer than two different scores.
    """
    if len(scores) == 0 or float(np.ptp(scores)) == 0:
        return otherwise
    counts, edges = np.histogram(scores, _BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below, mass = np.cumsum(counts)[:-1], np.cumsum(counts * middles)[:-1]
    above, rest = counts.sum() - below, (counts * middles).sum() - mass
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num(below * above * (mass / below - rest / above) ** 2)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best].mean())
