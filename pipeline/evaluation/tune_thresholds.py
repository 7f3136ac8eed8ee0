"""Tune thresholds on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..datasets.clips import SplitDataset
from ..inference.decisions import Decision, decide_by_thresholds
from ..inference.thresholds import Thresholds
from ..metrics import score
from ..timeline import SegmentProbabilities

_CANDIDATES = np.round(np.arange(0.05, 1.0, 0.05), 2)


def tune_thresholds(
    predictions: SegmentProbabilities,
    clips: SplitDataset,
    labels: Iterable[str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    decision: Decision = decide_by_thresholds,
) -> Thresholds:
    """Maximise the mean of the ten scores on the validation split by one pass of coordinate ascent.

    The thresholds of each level and modality are tuned first, then those of each class at the segment level. A change
    is kept only if the mean rises, so it is never below that of thresholds of 0.5.

    Args:
        predictions: (N, T, C) of the clips.
        clips: of the validation split, with annotated labels.
        labels: C class names.
        progress: called with the number of steps done and the total.
        decision: that uses the thresholds.

    Returns:
        The thresholds.

    Raises:
        ValueError: the clips are of another split.
    """
    if clips.split != "val":
        raise ValueError(f"thresholds are tuned on the validation split, not on {clips.split}")
    truth = clips.segment_labels
    thresholds = Thresholds.uniform(tuple(labels))

    def mean_score() -> float:
        return score(*decision(predictions, thresholds), *truth).mean

    levels = [thresholds.audio_segment, thresholds.visual_segment]
    pooled = predictions.video is not None
    videos = [thresholds.video] if pooled else [thresholds.audio_video, thresholds.visual_video]
    steps = [(level, slice(None)) for level in (*levels, *videos)]
    steps += [(level, slice(index, index + 1)) for level in levels for index in range(len(thresholds.labels))]
    best = mean_score()
    for done, (level, classes) in enumerate(steps, 1):
        best_values = level[classes].copy()
        for candidate in _CANDIDATES:
            level[classes] = candidate
            if (mean := mean_score()) > best:
                best, best_values = mean, level[classes].copy()
        level[classes] = best_values
        progress(done, len(steps))
    return thresholds
