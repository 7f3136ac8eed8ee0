"""Tune thresholds on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..datasets.clips import SplitDataset
from ..inference.decisions import Decision, decide_by_thresholds
from ..inference.localize import decide_one_class
from ..inference.thresholds import Thresholds
from ..metrics import score
from ..timeline import SegmentProbabilities
from .localization import score_event_clips

_CANDIDATES = np.round(np.arange(0.05, 1.0, 0.05), 2)
# Arrays of thresholds that are set together, and the classes of the step.
_Step: TypeAlias = "tuple[tuple[NDArray[np.float64], ...], slice]"


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
    _check_split(clips)
    truth = clips.segment_labels
    thresholds = Thresholds.uniform(tuple(labels))
    levels = [thresholds.audio_segment, thresholds.visual_segment]
    pooled = predictions.video is not None
    videos = [thresholds.video] if pooled else [thresholds.audio_video, thresholds.visual_video]
    steps: list[_Step] = [((level,), slice(None)) for level in (*levels, *videos)]
    steps += [((level,), slice(index, index + 1)) for level in levels for index in range(len(thresholds.labels))]
    _ascend(steps, lambda: score(*decision(predictions, thresholds), *truth).mean, progress)
    return thresholds


def tune_localization_thresholds(
    predictions: SegmentProbabilities,
    clips: SplitDataset,
    labels: Iterable[str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    decision: Decision = decide_one_class,
) -> Thresholds:
    """Maximise the accuracy on the validation split by one pass of coordinate ascent.

    A localizer has the same probabilities for both modalities, and those of a video are the largest of its seconds: one
    threshold a class stands for all four. That of all classes is tuned first, then that of each class. A change is kept
    only if the accuracy rises.

    Args:
        predictions: as for `tune_thresholds`.
        clips: of the validation split, loaded for event localization.
        labels: C class names.
        progress: called with the number of steps done and the total.
        decision: that uses the thresholds.

    Returns:
        The thresholds.

    Raises:
        ValueError: the clips are of another split.
    """
    _check_split(clips)
    thresholds = Thresholds.uniform(tuple(labels))
    levels = (
        thresholds.audio_segment,
        thresholds.visual_segment,
        thresholds.audio_video,
        thresholds.visual_video,
    )
    classes = [slice(None), *(slice(index, index + 1) for index in range(len(thresholds.labels)))]
    steps: list[_Step] = [(levels, chosen) for chosen in classes]
    _ascend(steps, lambda: score_event_clips(decision(predictions, thresholds), clips).accuracy, progress)
    return thresholds


def _check_split(clips: SplitDataset) -> None:
    if clips.split != "val":
        raise ValueError(f"thresholds are tuned on the validation split, not on {clips.split}")


def _ascend(steps: Sequence[_Step], measure: Callable[[], float], progress: Callable[[int, int], None]) -> None:
    """Set the thresholds of each step, in turn, to the candidate that raises the measure most."""
    best = measure()
    for done, (levels, classes) in enumerate(steps, 1):
        before = [level[classes].copy() for level in levels]
        for candidate in _CANDIDATES:
            for level in levels:
                level[classes] = candidate
            if (found := measure()) > best:
                best, before = found, [level[classes].copy() for level in levels]
        for level, values in zip(levels, before, strict=True):
            level[classes] = values
        progress(done, len(steps))
