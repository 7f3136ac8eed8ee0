"""The ten F-scores of audio-visual video parsing, and the accuracy of event localization, vectorised.

For each video and class, F = 2 TP / (2 TP + FP + FN). At the segment level TP, FP and FN count segments; at the event
level they count events, the maximal runs of a class, and events match from an intersection over union of 0.5 on. F is
averaged over the classes present in ground truth or prediction (1 if there is none), then over videos. Audio-visual is
audio AND visual; Type@AV is the mean of audio, visual and audio-visual; Event@AV pools the counts of audio and visual.

Event localization has one class a second, the background included; its score is the share of right seconds. For an
open vocabulary, F of its segments and events come beside it, over the classes of a clip and then over clips.

Source:
    Tian, Li, Xu: Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video Parsing, ECCV 2020, and LLP's
    scorer, github.com/YapengTian/AVVP-ECCV20: `segment_level` and `event_level` in utils/eval_metrics.py, Type@AV in
    main_avvp.py. The scores are equal; the tests compare them. Accuracy: `compute_acc` of AVE, PSP and CMBS. Open
    vocabularies: the three metrics of OV-AVEL (CVPR 2025).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .descriptions import describe, describe_columns

_MATCH_IOU = 0.5  # least intersection over union of matching events
SCORE_NAMES = ("audio", "visual", "audio_visual", "type_av", "event_av")
LEVELS = ("segment", "event")
COUNT_NAMES = ("audio", "visual", "audio_visual", "pooled")  # of `level_counts`; the last is of audio and visual
NO_SECOND = -1  # in place of a true class: past the end of a clip


@dataclass(frozen=True)
class LevelScores:
    """Five F-scores of one level, in percent."""

    audio: float
    visual: float
    audio_visual: float
    type_av: float  # mean of the three above
    event_av: float  # from the pooled counts of audio and visual


@dataclass(frozen=True, repr=False)
class Scores:
    """Ten F-scores, in percent."""

    segment: LevelScores
    event: LevelScores

    def __repr__(self) -> str:
        rows = [(level, *(f"{value:.1f}" for value in asdict(getattr(self, level)).values())) for level in LEVELS]
        return describe(f"Scores in percent, mean {self.mean:.1f}", describe_columns([("", *SCORE_NAMES), *rows]))

    @property
    def mean(self) -> float:
        """Mean of the ten scores."""
        return float(np.mean([value for level in (self.segment, self.event) for value in asdict(level).values()]))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping, in which None stands for NaN."""
        levels = {level: asdict(getattr(self, level)) for level in LEVELS}
        document: dict[str, Any] = {
            level: {name: None if math.isnan(value) else value for name, value in scores.items()}
            for level, scores in levels.items()
        }
        return {**document, "mean": None if math.isnan(self.mean) else self.mean}


class Counts(NamedTuple):
    """True positives, false positives and false negatives, (N, C) each."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]

    def __add__(self, other: tuple[NDArray[np.int64], ...]) -> Counts:  # type: ignore[override]
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N, C): whether the class is in ground truth or prediction."""
        return (self.tp + self.fp + self.fn) > 0

    def f_scores(self) -> NDArray[np.float64]:
        """Return F of each video and class, (N, C), 0 where the class is absent."""
        twice = 2.0 * self.tp
        return twice / np.maximum(twice + self.fp + self.fn, 1)

    def video_scores(self) -> NDArray[np.float64]:
        """Return the mean F of each video over the classes that are present, (N,): 1 where none is."""
        number = self.present.sum(1)
        return np.where(number > 0, self.f_scores().sum(1) / np.maximum(number, 1), 1.0)


def score(pred_audio: ArrayLike, pred_visual: ArrayLike, true_audio: ArrayLike, true_visual: ArrayLike) -> Scores:
    """Compute the ten scores of N videos.

    Args:
        pred_audio: (N, T, C) of 0 and 1, predicted audio labels. Pad shorter videos with 0; it does not change scores.
        pred_visual: (N, T, C), predicted visual labels.
        true_audio: (N, T, C), ground truth.
        true_visual: (N, T, C), ground truth.

    Returns:
        Scores in percent.

    Raises:
        ValueError: the shapes differ, N is 0, or a value is neither 0 nor 1.
    """
    return Scores(*(_level_scores(counts) for counts in level_counts(pred_audio, pred_visual, true_audio, true_visual)))


def class_scores(
    pred_audio: ArrayLike, pred_visual: ArrayLike, true_audio: ArrayLike, true_visual: ArrayLike
) -> list[Scores | None]:
    """Compute the ten scores of each class alone.

    F is averaged over the videos that have the class in ground truth or prediction.

    Args:
        pred_audio: (N, T, C) of 0 and 1, predicted audio labels.
        pred_visual: (N, T, C), predicted visual labels.
        true_audio: (N, T, C), ground truth.
        true_visual: (N, T, C), ground truth.

    Returns:
        C scores in percent: None for a class that no video has, NaN for a score of a modality that lacks the class.

    Raises:
        ValueError: the shapes differ, N is 0, or a value is neither 0 nor 1.
    """
    levels = level_counts(pred_audio, pred_visual, true_audio, true_visual)
    classes = levels[0]["audio"].tp.shape[1]
    scores: list[Scores | None] = []
    for index in range(classes):
        class_levels = [
            {name: Counts(*(part[:, index : index + 1] for part in counts)) for name, counts in level.items()}
            for level in levels
        ]
        present = class_levels[0]["pooled"].present.any()
        scores.append(Scores(*map(_class_level_scores, class_levels)) if present else None)
    return scores


def overlapping(true_audio: ArrayLike, true_visual: ArrayLike) -> NDArray[np.bool_]:
    """Return which videos have overlapping events: two or more of one modality in some segment.

    Args:
        true_audio: (N, T, C) of 0 and 1.
        true_visual: (N, T, C).

    Returns:
        (N,) bool.

    Source:
        Table 3 of the LEAP paper (ECCV 2024).
    """
    audio, visual = _as_bool(true_audio), _as_bool(true_visual)
    return (audio.sum(-1) > 1).any(-1) | (visual.sum(-1) > 1).any(-1)


def segment_counts(pred: NDArray[np.bool_], true: NDArray[np.bool_]) -> Counts:
    """Count segments of two (N, T, C) bool arrays."""
    return Counts((pred & true).sum(1), (pred & ~true).sum(1), (~pred & true).sum(1))


def event_counts(pred: NDArray[np.bool_], true: NDArray[np.bool_]) -> Counts:
    """Count events of two (N, T, C) bool arrays. Runs of one class never overlap, so an event has at most one match."""
    videos, _, classes = pred.shape
    predicted, truth = _find_runs(pred), _find_runs(true)
    shared_segments = (predicted.ids >= 0) & (truth.ids >= 0)
    stride = max(len(truth.lengths), 1)  # a pair of runs is one number: predicted * stride + true
    pairs, intersections = np.unique(
        predicted.ids[shared_segments] * stride + truth.ids[shared_segments], return_counts=True
    )
    predicted_ids, true_ids = np.divmod(pairs, stride)
    unions = predicted.lengths[predicted_ids] + truth.lengths[true_ids] - intersections
    matched = predicted_ids[intersections >= _MATCH_IOU * unions]
    tp = np.bincount(predicted.owners[matched], minlength=videos * classes)
    predicted_events = np.bincount(predicted.owners, minlength=videos * classes)
    true_events = np.bincount(truth.owners, minlength=videos * classes)
    return Counts(*(part.reshape(videos, classes) for part in (tp, predicted_events - tp, true_events - tp)))


class _Runs(NamedTuple):
    """Maximal runs of every video and class; R is their number."""

    ids: NDArray[np.int64]  # (N, C, T) which run a segment belongs to, -1 for none
    lengths: NDArray[np.int64]  # (R,) segments
    owners: NDArray[np.int64]  # (R,) video * C + class


def _find_runs(active: NDArray[np.bool_]) -> _Runs:
    rows = np.ascontiguousarray(active.transpose(0, 2, 1))  # (N, C, T): runs lie along the last axis
    starts = rows.copy()
    starts[:, :, 1:] &= ~rows[:, :, :-1]
    ids = np.where(rows, np.cumsum(starts).reshape(rows.shape) - 1, -1)
    lengths = np.bincount(ids[rows], minlength=int(starts.sum()))
    owners = np.flatnonzero(starts) // rows.shape[2]
    return _Runs(ids, lengths, owners)


def segment_accuracy(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Compute the share of seconds whose class is right; the background is a class as any other.

    Args:
        predicted: (N, T) int, class of each second of N clips.
        truth: (N, T) int, from 0 on; `NO_SECOND` past the end of a clip: these seconds do not count.

    Returns:
        Percent of the seconds of all clips together.

    Raises:
        ValueError: the arrays are not integers of one shape (N, T), or no second counts.
    """
    predicted, truth, counts = _check_classes(predicted, truth)
    return float(100 * (predicted == truth)[counts].mean())


@dataclass(frozen=True)
class OpenVocabularyScores:
    """Scores of event localization with an open vocabulary, in [0, 1]."""

    accuracy: float  # share of right seconds
    segment: float  # F of the seconds of each class, the background among them
    event: float  # F of its runs of seconds

    @property
    def mean(self) -> float:
        """Mean of the three."""
        return (self.accuracy + self.segment + self.event) / 3


def open_vocabulary_scores(predicted: ArrayLike, truth: ArrayLike, background: int) -> OpenVocabularyScores:
    """Compute the three scores of OV-AVEL: each of every clip first, then the mean over clips.

    F is averaged over the classes that a clip has in prediction or truth; the background is a class as any other.

    Args:
        predicted: (N, T) int, class of each second of N clips.
        truth: (N, T) int; `NO_SECOND` past the end of a clip, unless this is the background: these do not count.
        background: the class of seconds without an event.

    Returns:
        The scores. A clip without a second that counts has none, and does not count.

    Raises:
        ValueError: the arrays are not integers of one shape (N, T), or no second counts.

    Source:
        OV-AVEL (CVPR 2025): accuracy, segment-level and event-level F1. Runs match from an intersection over union of
        0.5 on; as the runs of a class never touch, none has two matches.
    """
    predicted, truth, counts = _check_classes(predicted, truth, (NO_SECOND,) if background != NO_SECOND else ())
    scores: list[list[float]] = []
    for pred, true, real in zip(predicted, truth, counts, strict=True):
        if not real.any():
            continue
        classes = np.union1d(pred[real], true[real])  # of the clip: few, where all clips may have many
        tables = [((row[:, None] == classes) & real[:, None])[None] for row in (pred, true)]
        levels = [float(count(*tables).video_scores()[0]) for count in _LEVEL_COUNTS.values()]
        scores.append([float((pred == true)[real].mean()), *levels])
    return OpenVocabularyScores(*np.mean(scores, axis=0).tolist())


def class_confusion(predicted: ArrayLike, truth: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count the seconds of each pair of true and predicted class.

    Args:
        predicted: (N, T) int, from 0 to K - 1.
        truth: (N, T) int, from 0 to K - 1; `NO_SECOND` past the end of a clip.
        classes: K, the background included.

    Returns:
        (K, K) seconds: a row for each true, a column for each predicted class.

    Raises:
        ValueError: as for `segment_accuracy`, or a class is not below K.
    """
    predicted, truth, counts = _check_classes(predicted, truth)
    pairs = truth[counts].astype(np.int64), predicted[counts].astype(np.int64)
    if any(part.min() < 0 or part.max() >= classes for part in pairs):
        raise ValueError(f"expected classes from 0 to {classes - 1}")
    return np.bincount(pairs[0] * classes + pairs[1], minlength=classes**2).reshape(classes, classes)


def _check_classes(
    predicted: ArrayLike, truth: ArrayLike, not_seconds: tuple[int, ...] = (NO_SECOND,)
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.bool_]]:
    """Return two arrays of classes, and which seconds count. Raises ValueError."""
    arrays = np.asarray(predicted), np.asarray(truth)
    if arrays[0].shape != arrays[1].shape or arrays[0].ndim != 2:
        raise ValueError(f"expected two arrays of one shape (N, T), got {[array.shape for array in arrays]}")
    if any(array.dtype.kind not in "iu" for array in arrays):
        raise ValueError(f"expected integers, got {[str(array.dtype) for array in arrays]}")
    counts = ~np.isin(arrays[1], not_seconds)
    if not counts.any():
        raise ValueError("there is no second to score")
    return *arrays, counts


_LEVEL_COUNTS = {"segment": segment_counts, "event": event_counts}


def level_counts(
    pred_audio: ArrayLike, pred_visual: ArrayLike, true_audio: ArrayLike, true_visual: ArrayLike
) -> list[dict[str, Counts]]:
    """Count true and false positives and false negatives, from which `score` computes its F-scores.

    Args:
        pred_audio: (N, T, C) of 0 and 1, predicted audio labels.
        pred_visual: (N, T, C), predicted visual labels.
        true_audio: (N, T, C), ground truth.
        true_visual: (N, T, C), ground truth.

    Returns:
        For each of `LEVELS` the (N, C) counts of `COUNT_NAMES`; "pooled" are those of audio and visual together.

    Raises:
        ValueError: the shapes differ, N is 0, or a value is neither 0 nor 1.
    """
    arrays = [_as_bool(array) for array in (pred_audio, pred_visual, true_audio, true_visual)]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 3 or not len(arrays[0]):
        raise ValueError(f"expected four arrays of one shape (N, T, C), got {[array.shape for array in arrays]}")
    pa, pv, ta, tv = arrays
    levels: list[dict[str, Counts]] = []
    for count in _LEVEL_COUNTS.values():
        audio, visual = count(pa, ta), count(pv, tv)
        audio_visual = count(pa & pv, ta & tv)
        levels.append({"audio": audio, "visual": visual, "audio_visual": audio_visual, "pooled": audio + visual})
    return levels


def _level_scores(counts: dict[str, Counts]) -> LevelScores:
    audio, visual, audio_visual, pooled = (100 * float(counts[name].video_scores().mean()) for name in COUNT_NAMES)
    return LevelScores(audio, visual, audio_visual, (audio + visual + audio_visual) / 3, pooled)


def _class_level_scores(counts: dict[str, Counts]) -> LevelScores:
    audio, visual, audio_visual, pooled = (100 * _mean_where_present(counts[name]) for name in COUNT_NAMES)
    return LevelScores(audio, visual, audio_visual, (audio + visual + audio_visual) / 3, pooled)


def _mean_where_present(counts: Counts) -> float:
    present = counts.present
    return float(counts.f_scores()[present].mean()) if present.any() else float("nan")


def _as_bool(values: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if not np.isin(array, (0, 1)).all():
        raise ValueError("expected 0 and 1 only")
    return array.astype(bool)
