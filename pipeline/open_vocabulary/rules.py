"""Scores and decisions from similarities, in NumPy: the steps of AV2A.

All are computed in float64. They take clips of any length; the published program knows ten seconds only.

Source:
    AV2A (CVPR 2025), and what its published program computes. Its licence is not stated: these are the equations, and
    nothing of the program.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..segments import runs

SHIFT_METHODS = ("bbse-cosine", "bbse", "cosine", "naive")
_RIDGE = 1.0  # lambda: 1 / min(t + 1, 1) in the published program, which is 1 for all t


def relative_scores(raw: ArrayLike) -> NDArray[np.float64]:
    """Compare the classes of each second with each other.

    Args:
        raw: (T, C) similarities.

    Returns:
        (T, C): the sigmoid of z over the classes of a second, with n - 1 in the deviation. NaN for one class.
    """
    values = np.asarray(raw, np.float64)
    if not values.size:
        return values
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = values.std(axis=-1, ddof=1, keepdims=True) if values.shape[-1] > 1 else np.nan
        z = (values - values.mean(axis=-1, keepdims=True)) / deviation
        return 1 / (1 + np.exp(-z))


def fuse(visual: ArrayLike, audio: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """Return the combined scores of pictures and sounds.

    Args:
        visual: (T, C) scores of pictures.
        audio: (T, C) scores of sounds, or (1, C) of the sound of the whole clip.
        alpha: weight of the sounds, in [0, 1].

    Returns:
        (T, C).
    """
    return (1 - alpha) * np.asarray(visual, np.float64) + alpha * np.asarray(audio, np.float64)


def shifted_thresholds(
    scores: ArrayLike,
    threshold: ArrayLike,
    gamma: float,
    method: str = SHIFT_METHODS[0],
    embeddings: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Compute the thresholds of each second of a clip: they fall for classes that were active in earlier seconds.

    After each second, the threshold of a class falls by ``threshold * exp(-gamma * n)``, n being its active seconds so
    far, times a factor of the method: "bbse", how much of the next second's scores the classes that were active so far
    explain (0 for a class that never was); "cosine", the similarity of the next second's embedding with this one's;
    "bbse-cosine", both; "naive", 0.

    Args:
        scores: (T, C) in [0, 1].
        threshold: of the first second; a number, or (C,).
        gamma: how fast the shift fades.
        method: one of `SHIFT_METHODS`.
        embeddings: (T, D) of the seconds; the cosine is 1 without them.

    Returns:
        (T, C). A class is active where its score exceeds the threshold.

    Raises:
        ValueError: the method is unknown, or a shape does not fit.
    """
    table = np.asarray(scores, np.float64)
    if method not in SHIFT_METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(SHIFT_METHODS)}")
    if table.ndim != 2:
        raise ValueError(f"expected scores (T, C), got {table.shape}")
    rows = None if embeddings is None else np.asarray(embeddings, np.float64)
    if rows is not None and (rows.ndim != 2 or len(rows) != len(table)):
        raise ValueError(f"expected embeddings ({len(table)}, D), got {rows.shape}")
    return shift_windows(table[None], threshold, gamma, method, None if rows is None else rows[None])[0]


def shift_windows(
    scores: NDArray[np.float64],
    threshold: ArrayLike,
    gamma: float,
    method: str,
    embeddings: NDArray[np.float64] | None,
    *,
    moves_unseen: bool = True,
) -> NDArray[np.float64]:
    """Compute the thresholds of W windows of equal length, none of which knows the others.

    Args:
        scores: (W, T, C).
        threshold: see `shifted_thresholds`.
        gamma: see `shifted_thresholds`.
        method: one of `SHIFT_METHODS`.
        embeddings: (W, T, D), or None.
        moves_unseen: whether "cosine" moves the threshold of a class that was not active so far, as published; "bbse"
            never does.

    Returns:
        (W, T, C).
    """
    windows, seconds, classes = scores.shape
    first = np.broadcast_to(np.asarray(threshold, np.float64), (classes,))
    thresholds = np.empty_like(scores)
    thresholds[:, :1] = first
    if method == "naive":
        thresholds[:] = first
        return thresholds
    cosines = np.ones((windows, max(seconds - 1, 0)))
    if "cosine" in method and embeddings is not None:
        cosines = _cosines_of_neighbours(embeddings)
    active = np.zeros(scores.shape)  # 1 where it is
    number = np.zeros((windows, classes))
    shift = _Ratios(scores, active) if "bbse" in method else None
    for t in range(seconds - 1):
        active[:, t] = scores[:, t] > thresholds[:, t]
        number += active[:, t]
        fall = first * np.exp(-gamma * number) * cosines[:, t, None]
        if shift is not None:
            fall *= shift.after(t)
        if not moves_unseen:
            fall[number == 0] = 0
        thresholds[:, t + 1] = thresholds[:, t] - fall
    return thresholds


def shift_ratios(past: ArrayLike, active: ArrayLike, following: ArrayLike) -> NDArray[np.float64]:
    """Estimate how much more or less of each class there is in the next second than the seconds so far explain.

    With P the scores, Y the decisions, K = P' Y / n and mu the next scores: w = (K'K + I)^-1 K' mu, and w * mu.

    Args:
        past: (n, C) scores of the seconds so far.
        active: (n, C), which of them are active.
        following: (C,) scores of the next second.

    Returns:
        (C,); 0 for classes that are in no second so far.

    Source:
        "Black box shift estimation", Lipton et al. (ICML 2018), as AV2A has it.
    """
    scores = np.vstack([np.asarray(past, np.float64), np.asarray(following, np.float64).reshape(1, -1)])[None]
    flags = np.concatenate([np.asarray(active, np.float64), np.zeros((1, scores.shape[-1]))])[None]
    ratios = _Ratios(scores, flags)
    for t in range(scores.shape[1] - 2):
        ratios.after(t)
    return ratios.after(scores.shape[1] - 2)[0]


class _Ratios:
    """`shift_ratios` after each second of W windows.

    The system has C unknowns; it is solved for the seconds so far in their place where these are fewer: with
    K = P' Y / n and G = P P' / n^2, w = (Y' G Y + I)^-1 Y' v = Y' (I + G Y Y')^-1 v for v = P mu / n.

    Args:
        scores: (W, T, C).
        active: (W, T, C) of 0 and 1; row t is set before `after(t)`.
    """

    def __init__(self, scores: NDArray[np.float64], active: NDArray[np.float64]) -> None:
        windows, seconds, classes = scores.shape
        self._scores, self._active = scores, active
        self._by_class = classes <= seconds
        if self._by_class:
            self._sum = np.zeros((windows, classes, classes))  # n K
        else:
            self._gram = scores @ scores.transpose(0, 2, 1)
            self._shared = np.zeros((windows, seconds, seconds))  # Y Y'

    def after(self, t: int) -> NDArray[np.float64]:
        """Return (W, C) ratios of second t + 1. Called for t = 0, 1, ... in turn."""
        following = self._scores[:, t + 1]
        return following * (self._weights_by_class(t, following) if self._by_class else self._weights_by_second(t))

    def _weights_by_class(self, t: int, following: NDArray[np.float64]) -> NDArray[np.float64]:
        self._sum += self._scores[:, t, :, None] * self._active[:, t, None, :]
        k = self._sum / (t + 1)
        system = k.transpose(0, 2, 1) @ k + _RIDGE * np.eye(k.shape[1])
        return np.linalg.solve(system, k.transpose(0, 2, 1) @ following[:, :, None])[:, :, 0]

    def _weights_by_second(self, t: int) -> NDArray[np.float64]:
        n = t + 1
        so_far = self._active[:, :n]
        row = (so_far @ self._active[:, t, :, None])[:, :, 0]
        self._shared[:, t, :n] = self._shared[:, :n, t] = row
        system = (self._gram[:, :n, :n] / n**2) @ self._shared[:, :n, :n] + _RIDGE * np.eye(n)
        solution = np.linalg.solve(system, self._gram[:, :n, n, None] / n)
        return (so_far.transpose(0, 2, 1) @ solution)[:, :, 0]


def _cosines_of_neighbours(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (W, T - 1) cosines of the rows of (W, T, D) with the next ones; 0 with rows of zeros."""
    lengths = np.linalg.norm(embeddings, axis=-1)
    products = np.einsum("wtd,wtd->wt", embeddings[:, :-1], embeddings[:, 1:])
    return products / np.maximum(lengths[:, :-1] * lengths[:, 1:], 1e-8)


def merge_seconds(active: ArrayLike) -> list[tuple[int, int]]:
    """Return the events of a class: single seconds are dropped, then runs with one second between them are joined.

    Args:
        active: (T,), whether the class is active in a second.

    Returns:
        (onset, offset) of each event in seconds, the offset exclusive; all are of two seconds or more.
    """
    flags = np.asarray(active, bool)
    return runs(merge_tables(flags[:, None])[:, 0])


def merge_tables(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (T, C) decisions with the single seconds of each class dropped, and gaps of one second closed."""
    kept = active & (_earlier(active) | _later(active))
    return kept | (_earlier(kept) & _later(kept))


def _earlier(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([np.zeros_like(active[:1]), active[:-1]])


def _later(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([active[1:], np.zeros_like(active[:1])])
