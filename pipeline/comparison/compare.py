"""Set systems side by side on the same clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.localizers.config import BACKGROUND
from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id, video_of
from ..datasets.localization import find_event_targets
from ..errors import DatasetError, SetupError
from ..evaluation.localization import classes_of_seconds
from ..metrics import overlapping
from ..text import escape
from ..timeline import SegmentLabels
from .bootstrap import Bootstrap, Intervals, Resampling, bootstrap
from .ratios import (
    ALL,
    LOCALIZATION,
    NON_OVERLAPPING,
    OVERLAPPING,
    PARSING,
    Protocol,
    localization_ratios,
    parsing_ratios,
)

MIN_CLIPS = 2  # of one clip every resample is the same


@dataclass(frozen=True, eq=False)
class SystemDecisions:
    """What one system says of n clips of a split.

    Attributes:
        name: of the run, the bundle or the folder.
        rows: of the clips in the split, ascending.
        decisions: (n, T, C) predicted labels.
        truth: (n, T, C) annotated labels, as far as the system's clips go.
        lengths: (n,) seconds of the clips.
        localized: whether it is a localizer, with one class a second.
        notes: for the reader.
    """

    name: str
    rows: tuple[int, ...]
    decisions: SegmentLabels
    truth: SegmentLabels
    lengths: NDArray[np.int64]
    localized: bool
    notes: tuple[str, ...] = ()


class Group(NamedTuple):
    """Clips that scores are of.

    Attributes:
        name: `ALL`, `OVERLAPPING`, `NON_OVERLAPPING` or a class.
        clips: number of clips; of a class those that are annotated with it.
        is_class: whether it is a class.
    """

    name: str
    clips: int
    is_class: bool


class Score(NamedTuple):
    """A score, or the difference of two, in percent, and its interval; NaN where it does not exist."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval, of a difference, has one sign only."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores of M systems on the same clips, with bootstrap intervals.

    Attributes:
        split: name of the split.
        protocol: of the scores, S.
        names: of the systems, M; differences are those of each later system minus the first.
        groups: of clips, G: all, those with and without overlapping events (of parsers), and classes.
        videos: number of videos, which are resampled.
        resampling: how.
        result: scores, differences, and how often the later system is better.
        notes: for the reader.
    """

    split: str
    protocol: Protocol
    names: tuple[str, ...]
    groups: tuple[Group, ...]
    videos: int
    resampling: Resampling
    result: Bootstrap
    notes: tuple[str, ...] = ()

    def score(self, system: int, group: int, name: str) -> Score:
        """Return a score of a system. name: one of `protocol.scores`."""
        return self._pick(self.result.scores, system, group, name)

    def difference(self, system: int, group: int, name: str) -> Score:
        """Return how much better than the first system another one is. system: from 1 on."""
        return self._pick(self.result.differences, system - 1, group, name)

    def better(self, system: int, group: int, name: str) -> float:
        """Return the share of resamples in which a system is better than the first one. system: from 1 on."""
        return float(self.result.better[system - 1, group, self.protocol.scores.index(name)])

    def _pick(self, intervals: Intervals, system: int, group: int, name: str) -> Score:
        place = system, group, self.protocol.scores.index(name)
        return Score(*(float(part[place]) for part in intervals))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: percent, null for what does not exist."""
        groups = [self._group_to_dict(index) for index in range(len(self.groups))]
        return {
            "task": self.protocol.task,
            "split": self.split,
            "systems": list(self.names),
            "clips": self.groups[0].clips,
            "videos": self.videos,
            "resamples": self.resampling.resamples,
            "seed": self.resampling.seed,
            "confidence": self.resampling.confidence,
            "notes": list(self.notes),
            "groups": groups,
        }

    def _group_to_dict(self, group: int) -> dict[str, Any]:
        described = self.groups[group]
        scores = {
            name: {score: _to_json(self.score(system, group, score)) for score in self.protocol.scores}
            for system, name in enumerate(self.names)
        }
        differences = {
            name: {
                score: {
                    **_to_json(self.difference(system, group, score)),
                    "better": _known(self.better(system, group, score)),
                }
                for score in self.protocol.scores
            }
            for system, name in enumerate(self.names)
            if system
        }
        kind = "class" if described.is_class else "clips"
        return {
            "name": described.name, "kind": kind, "clips": described.clips, "scores": scores,
            "differences": differences,
        }  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _to_json(score: Score) -> dict[str, float | None]:
    return {name: _known(value) for name, value in score._asdict().items()}


def compare(
    systems: Sequence[SystemDecisions],
    annotations: Annotations,
    split: str,
    resampling: Resampling,
    *,
    per_class: bool = False,
    allow_missing: bool = False,
) -> Comparison:
    """Score systems on the same clips, and resample the videos.

    Args:
        systems: at least one; the first is the one that the others are compared with.
        annotations: of the data set.
        split: of the clips.
        resampling: number of resamples, seed and confidence.
        per_class: add the scores of each class.
        allow_missing: leave out clips that not all systems have.

    Returns:
        The scores of each system, and the differences to the first.

    Raises:
        DatasetError: the systems have different clips, or too few in common.
        SetupError: some are localizers and others are not, or too many results are asked for.
    """
    _check_tasks(systems)
    rows = _shared_rows(systems, annotations, split, allow_missing=allow_missing)
    decisions, truth, lengths = _align(systems, rows, annotations, split)
    filenames = [annotations.split(split).filenames[row] for row in rows]
    _, videos = np.unique([clip_id(video_of(name, annotations.videos)) for name in filenames], return_inverse=True)
    localized = systems[0].localized
    names = (*annotations.labels, BACKGROUND) if localized else annotations.labels
    classes = range(len(names)) if per_class else ()
    if localized:
        protocol = LOCALIZATION
        seconds = classes_of_seconds(find_event_targets(truth, lengths), lengths)
        full = np.full(len(rows), seconds.shape[1])
        predictions = [find_event_targets(labels, full).segments for labels in decisions]
        ratios = [localization_ratios(found, seconds, len(annotations.labels), classes) for found in predictions]
        groups = [Group(ALL, len(rows), is_class=False)]
        counts = [int((seconds == index).any(axis=1).sum()) for index in classes]
    else:
        protocol = PARSING
        ratios = [parsing_ratios(labels, truth, classes) for labels in decisions]
        overlap = int(overlapping(*truth).sum())
        sizes = {ALL: len(rows), OVERLAPPING: overlap, NON_OVERLAPPING: len(rows) - overlap}
        groups = [Group(name, size, is_class=False) for name, size in sizes.items()]
        counts = (truth.audio | truth.visual).any(axis=1).sum(axis=0).tolist() if per_class else []
    groups += [Group(names[index], count, is_class=True) for index, count in zip(classes, counts, strict=True)]
    result = bootstrap(ratios, protocol, videos, resampling)
    notes = [f"{system.name}: {note}" for system in systems for note in system.notes]
    if len(rows) < len(annotations.split(split)):
        notes.append(f"{len(rows):,} of {len(annotations.split(split)):,} clips: the others are not in all systems.")
    return Comparison(
        split, protocol, tuple(system.name for system in systems), tuple(groups), int(videos.max()) + 1, resampling,
        result, tuple(notes),
    )  # fmt: skip


def _check_tasks(systems: Sequence[SystemDecisions]) -> None:
    """Raise SetupError unless all systems are parsers, or all are localizers."""
    of_task = {system.localized: system.name for system in systems}
    if len(of_task) > 1:
        raise SetupError(
            f"{of_task[True]} names one class a second (event localization), {of_task[False]} classes heard and seen"
            " (video parsing): accuracies and F-scores cannot be compared"
        )


def _shared_rows(
    systems: Sequence[SystemDecisions], annotations: Annotations, split: str, *, allow_missing: bool
) -> list[int]:
    """Return the clips that all systems have. Raises DatasetError if there are others, or too few."""
    filenames = annotations.split(split).filenames
    shared = set(systems[0].rows).intersection(*(system.rows for system in systems[1:]))
    for system in systems:
        lacking = sorted(set(range(len(filenames))) - set(system.rows))
        if lacking and not allow_missing:
            raise DatasetError(
                f"{system.name} lacks {len(lacking):,} of the {len(filenames):,} clips of {split}, such as"
                f" {escape(filenames[lacking[0]])} (--allow-missing compares the others)"
            )
    if len(shared) < MIN_CLIPS:
        raise DatasetError(f"{len(shared)} clips of {split} are in all systems; intervals need at least {MIN_CLIPS}")
    return sorted(shared)


def _align(
    systems: Sequence[SystemDecisions], rows: Sequence[int], annotations: Annotations, split: str
) -> tuple[list[SegmentLabels], SegmentLabels, NDArray[np.int64]]:
    """Return the decisions of each system on these clips, padded to the longest, their truth and their lengths.

    Raises DatasetError where systems were scored on different seconds of a clip.
    """
    longest = max(system.decisions.audio.shape[1] for system in systems)
    chosen = [np.searchsorted(np.asarray(system.rows), np.asarray(rows)) for system in systems]
    decisions = [_pad(system.decisions.select(places), longest) for system, places in zip(systems, chosen, strict=True)]
    truths = [_pad(system.truth.select(places), longest) for system, places in zip(systems, chosen, strict=True)]
    for system, truth in zip(systems[1:], truths[1:], strict=True):
        differs = ((truth.audio != truths[0].audio) | (truth.visual != truths[0].visual)).any(axis=(1, 2))
        if differs.any():
            name = annotations.split(split).filenames[rows[int(differs.argmax())]]
            raise DatasetError(
                f"{systems[0].name} and {system.name} cover different seconds of {int(differs.sum()):,} clips, such as"
                f" {escape(name)}: their features or timelines differ in length"
            )
    return decisions, truths[0], systems[0].lengths[chosen[0]]


def _pad(labels: SegmentLabels, length: int) -> SegmentLabels:
    missing = length - labels.audio.shape[1]
    return SegmentLabels(*(np.pad(table, ((0, 0), (0, missing), (0, 0))) for table in labels))
