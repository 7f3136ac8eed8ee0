"""Choose thresholds from counts of right and wrong seconds at many offsets of all thresholds.

Scores are sigmoids of z values, so thresholds are moved on the scale of their logits: an offset of 1 is one standard
deviation of the similarities of a second. Each class with enough annotated seconds gets the offset with its highest F;
the others get one together, as a threshold that few seconds choose is that of their noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OFFSETS = np.arange(-15, 36) / 5  # of the logits of thresholds
MIN_SECONDS = 20  # annotated, from which on a class gets a threshold of its own
_UNCHANGED = int(np.flatnonzero(OFFSETS == 0)[0])
_LEAST = 1e-3  # from 0 and 1, of thresholds that are moved: their logits are finite
_DECIMALS = 6
Counts = NDArray[np.int64]  # (G, C, 3): true positives, false positives and false negatives at each of OFFSETS


def move_thresholds(thresholds: NDArray[np.float64], offsets: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Move thresholds on the scale of their logits.

    Args:
        thresholds: (C,) in [0, 1].
        offsets: (C,), or one for all; 0 leaves a threshold as it is.

    Returns:
        (C,) in [0, 1].
    """
    inside = np.clip(thresholds, _LEAST, 1 - _LEAST)
    moved = 1 / (1 + np.exp(-(np.log(inside / (1 - inside)) + offsets)))
    return np.where(np.asarray(offsets) == 0, thresholds, np.round(moved, _DECIMALS))


def count_seconds(decisions: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the seconds of one clip.

    Args:
        decisions: (T, C).
        truth: (T, C).

    Returns:
        (C, 3): true positives, false positives and false negatives.
    """
    found = (decisions & truth).sum(axis=0)
    return np.stack([found, decisions.sum(axis=0) - found, truth.sum(axis=0) - found], axis=1)


@dataclass(frozen=True, eq=False)
class Choice:
    """Offsets of the thresholds of one modality.

    Attributes:
        offsets: (C,) of the logits of thresholds.
        seconds: (C,) annotated.
        own: (C,) whether a class has an offset of its own; the others have one together.
        shared: of the others; 0 where nothing is annotated.
    """

    offsets: NDArray[np.float64]
    seconds: NDArray[np.int64]
    own: NDArray[np.bool_]
    shared: float


def choose_offsets(counts: Counts, annotated: NDArray[np.bool_]) -> Choice:
    """Choose the offsets of one modality.

    Args:
        counts: of all clips that may be used.
        annotated: (C,) whether the data set knows the class; others say nothing, and get the shared offset.

    Returns:
        The offsets with the highest F over seconds; in the middle where many next to each other have it.
    """
    seconds = counts[0, :, 0] + counts[0, :, 2]
    own = annotated & (seconds >= MIN_SECONDS)
    few = annotated & ~own
    pool = few if seconds[few].sum() >= MIN_SECONDS else annotated
    shared = OFFSETS[_best(counts[:, pool].sum(axis=1))] if seconds[pool].any() else 0.0
    offsets = np.full(len(seconds), float(shared))
    for index in np.flatnonzero(own):
        offsets[index] = OFFSETS[_best(counts[:, index])]
    return Choice(offsets, seconds, own, float(shared))


def choose_all(counts: Mapping[str, Counts], annotated: NDArray[np.bool_]) -> dict[str, Choice]:
    """Return modality -> its offsets, see `choose_offsets`."""
    return {modality: choose_offsets(table, annotated) for modality, table in counts.items()}


def _best(counts: NDArray[np.int64]) -> int:
    """Return the index of the highest F of (G, 3) counts: the middle of the longest run, of equals the nearest to 0."""
    twice = 2 * counts[:, 0]
    scores = twice / np.maximum(twice + counts[:, 1] + counts[:, 2], 1)
    if not twice.any():
        return _UNCHANGED
    edges = np.diff((scores >= scores.max() - 1e-12).astype(int), prepend=0, append=0)
    runs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    middles = [((start + stop - 1) // 2, stop - start) for start, stop in runs]
    return int(max(middles, key=lambda run: (run[1], -abs(run[0] - _UNCHANGED)))[0])
