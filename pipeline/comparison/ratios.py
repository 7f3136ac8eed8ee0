"""Scores as ratios of sums over clips, which is what resampling the clips needs.

Every F-score of the protocol is a mean over clips, or over those that have a class, and an accuracy is a share of
seconds: the sum of a numerator over clips divided by the sum of a denominator. Scores of resampled clips follow from
weighted sums, without counting again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..metrics import COUNT_NAMES, LEVELS, NO_SECOND, SCORE_NAMES, level_counts, overlapping
from ..timeline import SegmentLabels

ALL, OVERLAPPING, NON_OVERLAPPING = "all clips", "overlapping", "non-overlapping"
_OF_LEVEL = len(COUNT_NAMES)


class ClipRatios(NamedTuple):
    """Numerators and denominators of K ratios of each of N clips and G groups, (N, G, K) each.

    A group is a set of clips (all, those with overlapping events, the others) or the clips of a class.
    """

    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64]


@dataclass(frozen=True)
class Protocol:
    """How scores follow from ratios.

    Attributes:
        task: "avvp" or "avel".
        scores: S names, such as "segment.audio".
        derive: (..., K) ratios -> (..., S) scores in percent.
    """

    task: str
    scores: tuple[str, ...]
    derive: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _f_scores(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add Type@AV of both levels, and the mean of the ten scores."""
    columns: list[NDArray[np.float64]] = []
    for start in range(0, ratios.shape[-1], _OF_LEVEL):
        audio, visual, audio_visual, pooled = np.moveaxis(ratios[..., start : start + _OF_LEVEL], -1, 0)
        columns += [audio, visual, audio_visual, (audio + visual + audio_visual) / 3, pooled]
    return 100 * np.stack([*columns, np.mean(columns, axis=0)], axis=-1)


def _percent(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100 * ratios


PARSING = Protocol("avvp", (*(f"{level}.{name}" for level in LEVELS for name in SCORE_NAMES), "mean"), _f_scores)
LOCALIZATION = Protocol("avel", ("accuracy", "events", "background"), _percent)


def parsing_ratios(decisions: SegmentLabels, truth: SegmentLabels, classes: Sequence[int] = ()) -> ClipRatios:
    """Count what the ten F-scores are made of.

    Args:
        decisions: (N, T, C) predicted labels.
        truth: (N, T, C) annotated labels.
        classes: indices of the classes that are groups of their own.

    Returns:
        The ratios of all clips, of those with overlapping events, of those without, and of each class; K = 8, those of
        `COUNT_NAMES` at the segment and the event level.
    """
    levels = level_counts(*decisions, *truth)
    counts = [level[name] for level in levels for name in COUNT_NAMES]
    overlap = overlapping(*truth).astype(float)
    shares = np.stack([np.ones_like(overlap), overlap, 1 - overlap], axis=1)[:, :, None]  # (N, 3, 1)
    means = np.stack([of_name.video_scores() for of_name in counts], axis=1)[:, None]  # (N, 1, 8)
    chosen = list(classes)
    numerators = np.stack([of_name.f_scores()[:, chosen] for of_name in counts], axis=2)
    denominators = np.stack([of_name.present[:, chosen].astype(float) for of_name in counts], axis=2)
    return ClipRatios(
        np.concatenate([means * shares, numerators], axis=1),
        np.concatenate([np.broadcast_to(shares, (*shares.shape[:2], len(counts))), denominators], axis=1),
    )


def localization_ratios(
    predicted: NDArray[np.int64], truth: NDArray[np.int64], count: int, classes: Sequence[int] = ()
) -> ClipRatios:
    """Count what accuracies are made of.

    Args:
        predicted: (N, T) class of each second.
        truth: (N, T) class of each second; `NO_SECOND` past the end of a clip.
        count: C; the background is class C.
        classes: indices of the classes that are groups of their own, the background among them.

    Returns:
        The ratios of all clips and of each class; K = 3: right seconds of all, of those with an event, of those without
        one. Those of a class are its right seconds, in the first place.
    """
    seconds = [truth != NO_SECOND, (truth != NO_SECOND) & (truth < count), truth == count]
    groups = [seconds, *([truth == index, np.zeros_like(seconds[0]), np.zeros_like(seconds[0])] for index in classes)]
    right = predicted == truth
    return ClipRatios(
        np.array([[(part & right).sum(1) for part in group] for group in groups], float).transpose(2, 0, 1),
        np.array([[part.sum(1) for part in group] for group in groups], float).transpose(2, 0, 1),
    )
