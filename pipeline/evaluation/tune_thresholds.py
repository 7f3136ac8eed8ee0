"""Thresholds chosen on the validation split, never on the test split."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..datasets.clips import SplitDataset
from ..inference.thresholds import Thresholds
from ..metrics import score
from ..timeline import SegmentProbabilities

_GRID = np.round(np.arange(0.05, 1.0, 0.05), 2)


def tune_thresholds(
    predictions: SegmentProbabilities,
    clips: SplitDataset,
    labels: Iterable[str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Thresholds:
    """Thresholds that raise the mean of the ten scores on these clips, by one pass of coordinate ascent.

    First one threshold for each level and modality, then one for each class at the segment level; a change is kept
    only where the scores rise, so that on these clips they are never below those of 0.5 throughout. `clips` must be
    the validation split.
    """
    if clips.split != "val":
        raise ValueError(f"thresholds are tuned on the validation split, not on {clips.split}")
    truth = clips.segment_labels
    thresholds = Thresholds.uniform(tuple(labels))

    def judge() -> float:
        return score(*thresholds.decide(predictions), *truth).mean

    levels = [thresholds.audio_segment, thresholds.visual_segment]
    pooled = predictions.video is not None
    videos = [thresholds.video] if pooled else [thresholds.audio_video, thresholds.visual_video]
    steps = [(level, slice(None)) for level in (*levels, *videos)]
    steps += [(level, slice(index, index + 1)) for level in levels for index in range(len(thresholds.labels))]
    best = judge()
    for done, (level, part) in enumerate(steps, 1):
        kept = level[part].copy()
        for candidate in _GRID:
            level[part] = candidate
            if (judged := judge()) > best:
                best, kept = judged, level[part].copy()
        level[part] = kept
        progress(done, len(steps))
    return thresholds
