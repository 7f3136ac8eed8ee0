"""Explain embeddings by few texts: non-negative least squares with a penalty, for many rows at once.

For each row z and the texts C, the weights w >= 0 minimise |z - w C|^2 + sum(penalty * w). Texts compete: one that
others explain has a weight of exactly 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_ROWS = 64  # solved at a time, with the texts that any of them needs
_STEPS = 2_000  # of the iteration, at most
_NEAR = 1e-4  # change of weights, at which the iteration has nearly found which are 0
_CHANGE = 1e-7  # at which it ends for rows whose exact solution is not found
_ZERO = 1e-5  # a weight below it is taken for 0 at first; then it is found exactly which are, and the others
_SLOPE = 1e-9  # of the objective, that counts as flat


def sparse_weights(rows: ArrayLike, texts: ArrayLike, penalty: ArrayLike) -> Array:
    """Compute the weights of texts that explain rows.

    Args:
        rows: (T, D) embeddings.
        texts: (K, D) embeddings.
        penalty: of the weights; a number, (T, 1) or (T, K), at least 0.

    Returns:
        (T, K) weights, 0 or more.

    Source:
        SCoPE (2026), its sparse coding. It takes 200 steps of FISTA; here the iteration finds which weights are not 0,
        and a system of equations their values.
    """
    embeddings, table = np.asarray(rows, np.float64), np.asarray(texts, np.float64)
    penalties = np.broadcast_to(np.asarray(penalty, np.float64), (len(embeddings), len(table)))
    weights = np.zeros((len(embeddings), len(table)))
    for start in range(0, len(embeddings), _ROWS):
        part = slice(start, start + _ROWS)
        gains = 2 * embeddings[part] @ table.T - penalties[part]  # slopes where all weights are 0
        weights[part] = _solve(gains, table)
    return weights


def _solve(gains: Array, texts: Array) -> Array:
    """Minimise w G w' - gains w' for G = texts texts', with those texts only that some row needs."""
    weights = np.zeros_like(gains)
    used = np.zeros(gains.shape[1], bool)
    wanted = (gains > _SLOPE).any(axis=0)
    while (wanted & ~used).any():
        used |= wanted
        chosen = texts[used]
        gram = chosen @ chosen.T
        near = _iterate(gram, gains[:, used], _NEAR)
        found = [_exact(gram, *row) for row in zip(gains[:, used], near, strict=True)]
        if rows := [place for place, row in enumerate(found) if row is None]:
            near[rows] = _iterate(gram, gains[rows][:, used], _CHANGE)
        weights[:, used] = [near[place] if row is None else row for place, row in enumerate(found)]
        wanted = (gains - 2 * (weights[:, used] @ chosen) @ texts.T > _SLOPE).any(axis=0)
    return weights


def _iterate(gram: Array, gains: Array, least_change: float) -> Array:
    """Approach the weights of all rows by FISTA, which begins anew where it overshoots."""
    # An upper bound of the largest eigenvalue, which is cheap for many texts.
    largest = np.linalg.eigvalsh(gram)[-1] if len(gram) <= 4 * _ROWS else np.abs(gram).sum(axis=1).max()
    step = 1 / (2 * max(float(largest), 1e-12))
    weights = ahead = np.zeros_like(gains)
    momentum = 1.0
    for _ in range(_STEPS):
        following = np.maximum(ahead - step * (2 * ahead @ gram - gains), 0)
        change = following - weights
        if ((ahead - following) * change).sum() > 0:
            momentum = 1.0
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * change
        weights, momentum = following, next_momentum
        if np.abs(change).max() < least_change:
            break
    return weights


def _exact(gram: Array, gains: Array, near: Array) -> Array | None:
    """Solve for the weights of one row that are not 0, from weights near the solution; None if that finds no end."""
    active = near > _ZERO
    for _ in range(len(gains)):
        weights = np.zeros_like(near)
        if active.any():
            system = 2 * gram[np.ix_(active, active)]
            try:
                weights[active] = np.linalg.solve(system, gains[active])
            except np.linalg.LinAlgError:  # two texts are the same: both get the same
                weights[active] = np.linalg.lstsq(system, gains[active])[0]
        if (weights < 0).any():
            active &= weights > 0
            continue
        slopes = np.where(active, 0, gains - 2 * gram @ weights)
        steepest = int(np.argmax(slopes))
        if slopes[steepest] <= _SLOPE:
            return weights
        active[steepest] = True
    return None
