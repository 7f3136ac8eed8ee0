"""Scores and decisions from similarities, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def relative_scores(raw: ArrayLike) -> NDArray[np.float64]:
    """Compare the classes of each second with each other.

    Args:
        raw: (T, C) similarities.

    Returns:
        (T, C): the sigmoid of z over the classes of a second, with n - 1 in the deviation. NaN for one class.

    Source:
        AV2A (CVPR 2025), the normalisation of its scores.
    """
    values = np.asarray(raw, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = values.std(axis=-1, ddof=1, keepdims=True) if values.shape[-1] > 1 else np.nan
        z = (values - values.mean(axis=-1, keepdims=True)) / deviation
        return 1 / (1 + np.exp(-z))
