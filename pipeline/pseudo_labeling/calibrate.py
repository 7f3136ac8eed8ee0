"""Choose per-class logit thresholds: maximise F1 on dense labels, or Otsu's method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .prompts import MODALITY_KEYS, Prompts
from .threshold_scores import LabelingConfig, ScoredClips, has_stream

_BINS = 128


def choose_thresholds(
    config: LabelingConfig, scored: ScoredClips, read_scores: Callable[[str], Mapping[str, NDArray[np.floating]]]
) -> Prompts:
    """Choose the thresholds of all classes as the configuration asks.

    A class without scores to choose by keeps the threshold of its prompt. Clips that lack a stream are left out for
    its modality.

    Args:
        config: its `calibration` names the method.
        scored: the clips that may be used.
        read_scores: clip -> logits by modality, (T, C).

    Returns:
        The prompts of the configuration with the new thresholds.
    """
    if config.calibration is None:
        return config.prompts
    is_dense = config.calibration == "dense"
    clips = [name for name in scored if (name in config.dense if is_dense else _is_labeled(config, name))]
    scores = {name: read_scores(name) for name in clips}
    thresholds: dict[str, list[float]] = {}
    for modality in MODALITY_KEYS:
        tables = {name: scores[name][modality] for name in clips if has_stream(modality, scored[name])}
        choose = _choose_from_dense if is_dense else _choose_from_scores
        defaults = config.prompts.thresholds(modality)
        thresholds[modality] = [
            choose(config, modality, tables, index, default) for index, default in enumerate(defaults)
        ]
    return config.prompts.with_thresholds(thresholds)


def _is_labeled(config: LabelingConfig, name: str) -> bool:
    return config.weak is None or name in config.weak


def _choose_from_dense(
    config: LabelingConfig, modality: str, tables: Mapping[str, NDArray[Any]], index: int, default: float
) -> float:
    """Choose the threshold of one class by the dense labels, over the seconds that have both labels and scores."""
    scores, truth = [np.empty(0, np.float32)], [np.empty(0, bool)]
    for name, table in tables.items():
        labels = config.dense[name].of(modality)
        length = min(len(table), len(labels))
        scores.append(table[:length, index])
        truth.append(labels[:length, index].astype(bool))
    return best_threshold(np.concatenate(scores), np.concatenate(truth), default)


def _choose_from_scores(
    config: LabelingConfig,
    modality: str,  # noqa: ARG001 - same arguments as _choose_from_dense
    tables: Mapping[str, NDArray[Any]],
    index: int,
    default: float,
) -> float:
    """Choose the threshold of one class by the scores of the clips that have the class."""
    scores = [table[:, index] for name, table in tables.items() if config.weak is None or config.weak[name][index]]
    return otsu_threshold(np.concatenate([*scores, np.empty(0)]), default)


def best_threshold(scores: NDArray[np.floating], truth: NDArray[Any], default: float = -np.inf) -> float:
    """Choose the threshold with the highest F1 of `score > threshold`; of equal ones the highest.

    Args:
        scores: (N,) logits of N segments.
        truth: (N,) whether the class is active, bool or 0 and 1.
        default: returned if the class is never active.

    Returns:
        A threshold half-way between two scores, in the precision of the scores, or 0.5 below the lowest score.

    Source:
        Lai et al.: UWAV, CVPR 2025, and its program: -inf where a class never occurs.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], truth[order].astype(bool)
    true_positives = np.cumsum(hits)
    f1 = 2 * true_positives / (np.arange(1, len(ranked) + 1) + hits.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # no threshold separates equal scores
    if not hits.any():
        return default
    best = int(np.argmax(f1))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1
    middle = (ranked[best] + below) / 2
    return float(middle if middle < ranked[best] else below)  # two scores next to each other in float32 have no middle


def otsu_threshold(scores: NDArray[np.floating], default: float) -> float:
    """Split scores into two groups with maximum variance between them.

    Args:
        scores: (N,) logits.
        default: returned if there are fewer than two different scores.

    Returns:
        One of the 127 edges between 128 bins from the smallest to the largest score; the mean of several equally good.

    Source:
        Otsu: A Threshold Selection Method from Gray-Level Histograms, 1979.
    """
    if len(scores) == 0 or float(np.ptp(scores)) == 0:
        return default
    counts, edges = np.histogram(scores, _BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * centers)[:-1]
    above, sum_above = counts.sum() - below, (counts * centers).sum() - sum_below
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.nan_to_num(below * above * (sum_below / below - sum_above / above) ** 2)
    best = np.flatnonzero(variance >= variance.max() * (1 - 1e-9))
    return float(edges[1:-1][best].mean())
