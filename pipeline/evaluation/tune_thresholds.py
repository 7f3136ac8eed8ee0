"""Tune thresholds on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..datasets.clips import SplitDataset
from ..inference.decisions import Decision, decide_by_thresholds
from ..inference.localize import decide_one_class
from ..inference.thresholds import DecisionRule, Thresholds
from ..metrics import score
from ..timeline import SegmentProbabilities
from .localization import score_event_clips

_CANDIDATES = np.round(np.arange(0.05, 1.0, 0.05), 2)
_VIDEO_CANDIDATES = np.round(np.arange(0.25, 0.701, 0.05), 2)  # of CMPAE
_CMPAE_LEVELS = (0.25, 0.45)  # thresholds of segments and videos
# Arrays of thresholds that are set together, and the classes of the step.
_Step: TypeAlias = "tuple[tuple[NDArray[np.float64], ...], slice]"


def tune_thresholds(
    predictions: SegmentProbabilities,
    clips: SplitDataset,
    start: Thresholds,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    decision: Decision = decide_by_thresholds,
) -> Thresholds:
    """Maximise the mean of the ten scores on the validation split by one pass of coordinate ascent.

    The thresholds of each level and modality are tuned first, then those of each class at the segment level. A change
    is kept only if the mean rises, so it is never below that of the thresholds at the start.

    Args:
        predictions: (N, T, C) of the clips.
        clips: of the validation split, with annotated labels.
        start: thresholds of the parser, with its rule.
        progress: called with the number of steps done and the total.
        decision: that uses the thresholds.

    Returns:
        The thresholds.

    Raises:
        ValueError: the clips are of another split.
    """
    _check_split(clips)
    truth = clips.segment_labels
    thresholds = start.changed()
    levels = [thresholds.audio_segment, thresholds.visual_segment]
    pooled = thresholds.rule.pooled(predictions) is not None
    videos = [thresholds.video] if pooled else [thresholds.audio_video, thresholds.visual_video]
    steps: list[_Step] = [((level,), slice(None)) for level in (*levels, *videos)]
    steps += [((level,), slice(index, index + 1)) for level in levels for index in range(len(thresholds.labels))]
    _ascend(steps, lambda: score(*decision(predictions, thresholds), *truth).mean, progress)
    return thresholds


def tune_localization_thresholds(
    predictions: SegmentProbabilities,
    clips: SplitDataset,
    start: Thresholds,
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
        start: thresholds of the parser, with its rule.
        progress: called with the number of steps done and the total.
        decision: that uses the thresholds.

    Returns:
        The thresholds.

    Raises:
        ValueError: the clips are of another split.
    """
    _check_split(clips)
    thresholds = start.changed()
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


def choose_visual_thresholds(
    predictions: SegmentProbabilities,
    truth_audio: NDArray[np.bool_],
    truth_visual: NDArray[np.bool_],
    *,
    start: Thresholds | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    decision: Decision = decide_by_thresholds,
) -> NDArray[np.float64]:
    """Choose for each class the threshold of the visual video-level probability with the highest visual event-level F.

    Each class is tried alone, while all others have the threshold that they start with; of equal ones the highest is
    taken.

    Args:
        predictions: (N, T, C) of N clips of the validation split.
        truth_audio: (N, T, C) annotated labels of the same clips.
        truth_visual: (N, T, C).
        start: all other thresholds, and the rule; None for CMPAE's: 0.25 of segments, 0.45 of videos, each modality
            filtered by its own video-level probability.
        progress: called with the number of classes done and the total.
        decision: that uses the thresholds.

    Returns:
        (C,) thresholds from 0.25 to 0.7.

    Source:
        Gao et al.: Collecting Cross-Modal Presence-Absence Evidence for Weakly-Supervised Audio-Visual Event
        Perception (CMPAE), CVPR 2023, and its program.
    """
    classes = predictions.audio.shape[-1]
    if start is None:
        names = tuple(map(str, range(classes)))
        start = replace(Thresholds.uniform(names, *_CMPAE_LEVELS), rule=DecisionRule("own"))
    chosen = start.visual_video.copy()
    for index in range(classes):
        tried = start.changed()
        best = -1.0
        for candidate in _VIDEO_CANDIDATES:
            tried.visual_video[index] = candidate
            labels = decision(predictions, tried)
            found = score(*labels, truth_audio, truth_visual).event.visual
            if found >= best:
                best, chosen[index] = found, candidate
        progress(index + 1, classes)
    return chosen


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
