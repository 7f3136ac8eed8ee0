"""From which logit on a class is believed: chosen by a few dense labels, or by how the logits are spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .prompts import Prompts
from .threshold_scores import SENSES, LabelingConfig, Scored, has_stream

_BINS = 128


def choose_thresholds(
    rules: LabelingConfig, scored: Scored, read: Callable[[str], Mapping[str, NDArray[np.floating]]]
) -> Prompts:
    """The prompts with thresholds chosen as asked for; a class of which nothing is known keeps its own.

    read: clip -> scores by modality, (T, C). Streams that a file lacks say nothing.
    """
    if rules.calibration is None:
        return rules.prompts
    dense, weak = rules.calibration == "dense", rules.weak
    asked = [name for name in scored if (name in rules.dense if dense else weak is None or name in weak)]
    scores = {name: read(name) for name in asked}
    chosen: dict[str, list[float]] = {}
    for modality, sense in SENSES.items():
        tables = {name: scores[name][modality] for name in asked if has_stream(modality, scored[name])}
        chosen[modality] = list(getattr(rules.prompts, f"{sense}_threshold"))
        for index, threshold in enumerate(chosen[modality]):
            if dense:
                pairs = [_common(t[:, index], rules.dense[n].of(modality)[:, index]) for n, t in tables.items()]
                values, truth = (
                    np.concatenate([*part, []]) for part in (zip(*pairs, strict=True) if pairs else ((), ()))
                )
                chosen[modality][index] = best_threshold(values, truth.astype(bool), threshold)
            else:  # of videos that have the class: of the others it says nothing
                own = [table[:, index] for name, table in tables.items() if weak is None or weak[name][index]]
                chosen[modality][index] = split_threshold(np.concatenate([*own, []]), threshold)
    return rules.prompts.with_thresholds(chosen["visual"], chosen["audio"])


def _common(scores: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The seconds that both have."""
    length = min(len(scores), len(truth))
    return scores[:length], truth[:length]


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
