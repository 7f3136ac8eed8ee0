"""The ten scores of audio-visual video parsing, as the published scorer of LLP counts them, without its loops.

For each video and class, F = 2 TP / (2 TP + FP + FN). At the segment level TP, FP and FN are seconds; at the event
level they are events, the maximal runs of a class, and a match is an intersection over union of at least 0.5. F is
averaged over the classes present in truth or prediction (1 where there is none), then over videos. Audio-visual is
audio AND visual; Type@AV the mean of audio, visual and audio-visual; Event@AV pools the counts of audio and visual.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MATCH = 0.5  # intersection over union from which on a predicted event is the true one
SCORE_NAMES = ("audio", "visual", "audio_visual", "type_av", "event_av")
LEVELS = ("segment", "event")


@dataclass(frozen=True)
class LevelScores:
    """Five F-scores in percent."""

    audio: float
    visual: float
    audio_visual: float
    type_av: float
    event_av: float


@dataclass(frozen=True)
class Scores:
    """The ten scores, in percent."""

    segment: LevelScores
    event: LevelScores

    @property
    def mean(self) -> float:
        """Mean of the ten."""
        return float(np.mean([value for level in (self.segment, self.event) for value in asdict(level).values()]))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; what is not defined (NaN) is None."""
        levels = {level: asdict(getattr(self, level)) for level in LEVELS}
        document: dict[str, Any] = {
            level: {name: None if math.isnan(value) else value for name, value in scores.items()}
            for level, scores in levels.items()
        }
        return {**document, "mean": None if math.isnan(self.mean) else self.mean}


class Counts(NamedTuple):
    """True positives, false positives and false negatives, (N, C) each."""

    hits: NDArray[np.int64]
    spurious: NDArray[np.int64]
    missed: NDArray[np.int64]

    def __add__(self, other: tuple[NDArray[np.int64], ...]) -> Counts:  # type: ignore[override]
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N, C): the class is in truth or prediction."""
        return (self.hits + self.spurious + self.missed) > 0

    def f_scores(self) -> NDArray[np.float64]:
        """(N, C), 0 where the class is absent."""
        twice = 2.0 * self.hits
        return twice / np.maximum(twice + self.spurious + self.missed, 1)


def score(pred_audio: ArrayLike, pred_visual: ArrayLike, true_audio: ArrayLike, true_visual: ArrayLike) -> Scores:
    """The ten scores of N videos: four (N, T, C) arrays of 0 and 1.

    Videos of other lengths are padded with zeros, which changes nothing. Raises ValueError where the shapes differ,
    there is no video, or a value is neither 0 nor 1.
    """
    return Scores(*(_level_scores(counts) for counts in _all_counts(pred_audio, pred_visual, true_audio, true_visual)))


def class_scores(
    pred_audio: ArrayLike, pred_visual: ArrayLike, true_audio: ArrayLike, true_visual: ArrayLike
) -> list[Scores | None]:
    """The ten scores of each class alone: F averaged over the videos in which it is in truth or prediction.

    None for a class that no video holds; a single score of such a kind (never seen, say) is NaN.
    """
    levels = _all_counts(pred_audio, pred_visual, true_audio, true_visual)
    classes = levels[0]["audio"].hits.shape[1]
    scores: list[Scores | None] = []
    for index in range(classes):
        own = [
            {name: Counts(*(part[:, index : index + 1] for part in counts)) for name, counts in level.items()}
            for level in levels
        ]
        scores.append(Scores(*map(_class_level, own)) if own[0]["pooled"].present.any() else None)
    return scores


def overlapping(true_audio: ArrayLike, true_visual: ArrayLike) -> NDArray[np.bool_]:
    """(N,): the videos in which some second has two or more events of one modality (paper, Table 3)."""
    heard, seen = _as_bool(true_audio), _as_bool(true_visual)
    return (heard.sum(-1) > 1).any(-1) | (seen.sum(-1) > 1).any(-1)


def segment_counts(pred: NDArray[np.bool_], true: NDArray[np.bool_]) -> Counts:
    """Seconds: two (N, T, C) bool."""
    return Counts((pred & true).sum(1), (pred & ~true).sum(1), (~pred & true).sum(1))


def event_counts(pred: NDArray[np.bool_], true: NDArray[np.bool_]) -> Counts:
    """Events: two (N, T, C) bool. Runs of one class never overlap, so an event has at most one match."""
    videos, _, classes = pred.shape
    predicted, truth = _runs(pred), _runs(true)
    together = (predicted.ids >= 0) & (truth.ids >= 0)  # the seconds that two runs share
    total = max(len(truth.lengths), 1)
    pairs, shared = np.unique(predicted.ids[together] * total + truth.ids[together], return_counts=True)
    which, of = np.divmod(pairs, total)
    either = predicted.lengths[which] + truth.lengths[of] - shared
    matched = which[shared >= _MATCH * either]
    hits = np.bincount(predicted.owners[matched], minlength=videos * classes)
    found = np.bincount(predicted.owners, minlength=videos * classes)
    wanted = np.bincount(truth.owners, minlength=videos * classes)
    return Counts(*(part.reshape(videos, classes) for part in (hits, found - hits, wanted - hits)))


class _Runs(NamedTuple):
    """Maximal runs of every video and class."""

    ids: NDArray[np.int64]  # (N, C, T) which run a second belongs to, -1 for none
    lengths: NDArray[np.int64]  # (R,) seconds
    owners: NDArray[np.int64]  # (R,) video * C + class


def _runs(active: NDArray[np.bool_]) -> _Runs:
    rows = np.ascontiguousarray(active.transpose(0, 2, 1))  # (N, C, T): runs lie along the last axis
    starts = rows.copy()
    starts[:, :, 1:] &= ~rows[:, :, :-1]
    ids = np.where(rows, np.cumsum(starts).reshape(rows.shape) - 1, -1)
    lengths = np.bincount(ids[rows], minlength=int(starts.sum()))
    owners = np.flatnonzero(starts) // rows.shape[2]
    return _Runs(ids, lengths, owners)


_LEVEL_COUNTS = {"segment": segment_counts, "event": event_counts}


def _all_counts(
    pred_audio: ArrayLike, pred_visual: ArrayLike, true_audio: ArrayLike, true_visual: ArrayLike
) -> list[dict[str, Counts]]:
    """For either level the counts of audio, visual, audio-visual, and audio and visual pooled."""
    given = [_as_bool(array) for array in (pred_audio, pred_visual, true_audio, true_visual)]
    if len({array.shape for array in given}) != 1 or given[0].ndim != 3 or not len(given[0]):
        raise ValueError(f"expected four arrays of one shape (N, T, C), got {[array.shape for array in given]}")
    heard, seen, true_heard, true_seen = given
    levels: list[dict[str, Counts]] = []
    for count in _LEVEL_COUNTS.values():
        audio, visual = count(heard, true_heard), count(seen, true_seen)
        both = count(heard & seen, true_heard & true_seen)
        levels.append({"audio": audio, "visual": visual, "audio_visual": both, "pooled": audio + visual})
    return levels


def _level_scores(counts: dict[str, Counts]) -> LevelScores:
    audio, visual, both, pooled = (100 * _mean_over_videos(counts[name]) for name in _COUNTED)
    return LevelScores(audio, visual, both, (audio + visual + both) / 3, pooled)


def _class_level(counts: dict[str, Counts]) -> LevelScores:
    audio, visual, both, pooled = (100 * _mean_where_present(counts[name]) for name in _COUNTED)
    return LevelScores(audio, visual, both, (audio + visual + both) / 3, pooled)


_COUNTED = ("audio", "visual", "audio_visual", "pooled")


def _mean_over_videos(counts: Counts) -> float:
    present = counts.present
    number = present.sum(1)
    sums = np.where(present, counts.f_scores(), 0.0).sum(1)
    return float(np.where(number > 0, sums / np.maximum(number, 1), 1.0).mean())


def _mean_where_present(counts: Counts) -> float:
    present = counts.present
    return float(counts.f_scores()[present].mean()) if present.any() else float("nan")


def _as_bool(array: ArrayLike) -> NDArray[np.bool_]:
    given = np.asarray(array)
    if given.dtype == np.bool_:
        return given
    if not np.isin(given, (0, 1)).all():
        raise ValueError("expected 0 and 1 only")
    return given.astype(bool)
