"""Explain embeddings by few texts: non-negative least squares with a penalty, for many rows at once.

For each row z and the texts C, the weights w >= 0 minimise |z - w C|^2 + sum(penalty * w). Texts compete: one that
others explain has a weight of exactly 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_ROWS = 256  # solved at a time, with the texts that any of them needs
_STEPS = 2_000  # of the iteration, at most
# Types of the iterations, and the change of weights at which each has nearly found which are 0. Few rows need the
# second one; where the exact solution is not found either way, the third is the answer.
_ITERATIONS = ((np.float32, 1e-3), (np.float64, 1e-5), (np.float64, 1e-7))
_ZERO = 1e-4  # a weight below it is taken for 0 at first; then it is found exactly which are, and the others
_NUMBERS = 1 << 20  # of systems of equations that are solved at a time
_SAME = 1e-12  # of the largest eigenvalue, below which one counts as 0
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
        weights[:, used] = _solve_dense(gram, gains[:, used])
        wanted = (gains - 2 * (weights[:, used] @ chosen) @ texts.T > _SLOPE).any(axis=0)
    return weights


def _solve_dense(gram: Array, gains: Array) -> Array:
    """Find the exact weights of each row from near ones; of rows for which that fails, from nearer ones."""
    weights, left = np.zeros_like(gains), np.arange(len(gains))
    for dtype, least_change in _ITERATIONS:
        near = _iterate(gram.astype(dtype), gains[left].astype(dtype), weights[left].astype(dtype), least_change)
        found, solved = _exact(gram, gains[left], near)
        weights[left] = np.where(solved[:, None], found, near)
        left = left[~solved]
        if not len(left):
            break
    return weights


def _iterate(gram: NDArray[Any], gains: NDArray[Any], start: NDArray[Any], least_change: float) -> NDArray[Any]:
    """Approach the weights of all rows by FISTA, which begins anew where it overshoots; in the type of the arrays."""
    # An upper bound of the largest eigenvalue, which is cheap for many texts.
    largest = np.linalg.eigvalsh(gram)[-1] if len(gram) <= _ROWS else np.abs(gram).sum(axis=1).max()
    step = 1 / (2 * max(float(largest), 1e-12))
    weights = ahead = start
    momentum = 1.0
    for _ in range(_STEPS):
        following = np.maximum(ahead - step * (2 * ahead @ gram - gains), 0)
        change = following - weights
        if ((ahead - following) * change).sum() > 0:
            momentum = 1.0
        next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * change
        weights, momentum = following, next_momentum
        if np.abs(change).max() < least_change:
            break
    return weights


def _exact(gram: Array, gains: Array, near: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Solve for the weights that are not 0, from weights near the solution.

    Returns:
        (T, K) weights, and (T,) whether each row's are the solution: for some no end is found.
    """
    weights, solved = np.zeros_like(gains), np.zeros(len(gains), bool)
    active, left = near > _ZERO, np.arange(len(near))
    for _ in range(gains.shape[1]):
        found = _equations(gram, gains[left], active[left])
        slopes = np.where(active[left], 0, gains[left] - 2 * found @ gram)
        steepest = slopes.argmax(axis=1)
        falls = (found < 0).any(axis=1)
        rises = ~falls & (slopes[np.arange(len(left)), steepest] > _SLOPE)
        ended = ~falls & ~rises
        weights[left[ended]], solved[left[ended]] = found[ended], True
        active[left[falls]] &= found[falls] > 0
        active[left[rises], steepest[rises]] = True
        left = left[~ended]
        if not len(left):
            break
    return weights, solved


def _equations(gram: Array, gains: Array, active: NDArray[np.bool_]) -> Array:
    """Return (T, K) weights at which those that are active have no slope; 0 for the others."""
    counts = active.sum(axis=1)
    places = np.argsort(~active, axis=1, kind="stable")[:, : counts.max()]  # the active ones first
    entries, size = len(gram), places.shape[1]
    real = np.arange(size) < counts[:, None]
    table = np.zeros((entries + size, entries + size))  # behind the entries are those that fill up shorter rows
    table[:entries, :entries] = 2 * gram
    np.fill_diagonal(table[entries:, entries:], 1)
    filled = np.where(real, places, entries + np.arange(size))
    sides = np.where(real, np.take_along_axis(gains, places, axis=1), 0)
    values = np.zeros_like(sides)
    step = max(1, _NUMBERS // max(1, size * size))
    for start in range(0, len(gains), step):
        part = slice(start, start + step)
        systems = table.take(filled[part, :, None] * len(table) + filled[part, None, :])
        values[part] = _solve_systems(systems, sides[part, :, None])[..., 0]
    weights = np.zeros_like(gains)
    np.put_along_axis(weights, places, np.where(real, values, 0), axis=1)
    return weights


def _solve_systems(systems: Array, sides: Array) -> NDArray[Any]:
    try:
        return np.linalg.solve(systems, sides)
    except np.linalg.LinAlgError:  # two texts are the same: both get the same
        return np.linalg.pinv(systems, rcond=_SAME, hermitian=True) @ sides
