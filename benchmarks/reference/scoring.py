"""The published scorer: loops over clips and classes."""

from __future__ import annotations

import numpy as np
from avvp.pipeline.segments import runs
from numpy.typing import NDArray

Counts = tuple[int, int, int]  # true positives, false positives, false negatives
Table = NDArray[np.bool_]  # (N, T, C) of clips, (T,) of one clip and class


def score_plainly(pred_audio: Table, pred_visual: Table, true_audio: Table, true_visual: Table) -> list[float]:
    """Score N clips.

    Args:
        pred_audio: (N, T, C).
        pred_visual: (N, T, C).
        true_audio: (N, T, C).
        true_visual: (N, T, C).

    Returns:
        Ten means in percent: audio, visual, audio-visual, Type@AV and Event@AV by segment, then by event.
    """
    sums = np.zeros((2, 4))
    for tables in zip(pred_audio, pred_visual, true_audio, true_visual, strict=True):
        pa, pv, ta, tv = tables
        pairs = [(pa, ta), (pv, tv), (pa & pv, ta & tv)]
        for level, count in enumerate((count_segments, count_events)):
            counts = [[count(p[:, c], t[:, c]) for c in range(p.shape[1])] for p, t in pairs]
            pooled = [_add(audio, visual) for audio, visual in zip(counts[0], counts[1], strict=True)]
            for column, classes in enumerate((*counts, pooled)):
                sums[level, column] += _mean_f_score(classes)
    means = 100 * sums / len(pred_audio)
    return [float(value) for row in means for value in (*row[:3], row[:3].mean(), row[3])]


def count_segments(pred: Table, true: Table) -> Counts:
    """Count the seconds of one class, (T,)."""
    return int((pred & true).sum()), int((pred & ~true).sum()), int((~pred & true).sum())


def count_events(pred: Table, true: Table) -> Counts:
    """Count the events of one class, (T,); a match has an intersection over union of at least 0.5."""
    predicted, truth = runs(pred), runs(true)
    hits = sum(any(_is_match(event, other) for other in truth) for event in predicted)
    missed = sum(not any(_is_match(event, other) for other in predicted) for event in truth)
    return hits, len(predicted) - hits, missed


def _is_match(event: tuple[int, int], other: tuple[int, int]) -> bool:
    shared = max(0, min(event[1], other[1]) - max(event[0], other[0]))
    return shared >= 0.5 * (event[1] - event[0] + other[1] - other[0] - shared)


def _add(first: Counts, second: Counts) -> Counts:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _mean_f_score(classes: list[Counts]) -> float:
    """Average over the classes present in prediction or truth; 1 where there are none."""
    scores = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in classes if tp + fp + fn]
    return sum(scores) / len(scores) if scores else 1.0
