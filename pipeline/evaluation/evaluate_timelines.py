"""Evaluate timelines on disk, from any program, against the annotations of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id
from ..datasets.localization import find_event_targets
from ..errors import DatasetError
from ..metrics import score
from ..text import escape
from ..timeline import SINGLE_MODALITIES, GroundTruth, SegmentLabels, Timeline, per_second_labels
from .evaluate import Evaluation, evaluate
from .localization import LocalizationEvaluation, classes_of_seconds, evaluate_localization
from .scored_classes import class_names, select_classes
from .timeline_files import invalid_timeline, read_clips, read_document, read_events

Find = Callable[[str], "str | None"]  # name of a class -> class that is scored


class TimelineDecisions(NamedTuple):
    """What the timelines in a folder say of n clips of a split."""

    rows: tuple[int, ...]  # of the clips, in the split
    labels: SegmentLabels  # (n, T, C)
    localized: bool  # all timelines are of localizers
    notes: tuple[str, ...]  # for the reader of scores


def evaluate_timelines(
    folder: Path,
    annotations: Annotations,
    split: str,
    *,
    allow_missing: bool = False,
    classes: Sequence[str] | None = None,
) -> Evaluation | LocalizationEvaluation:
    """Score the timelines in a folder: by accuracy where the data set, or all timelines, have one event a second.

    Args:
        folder: of JSON files, see `read_decisions`.
        annotations: of the data set; seconds past its last annotated second are not scored.
        split: "val" or "test".
        allow_missing: score only the clips that have a timeline; `notes` states their number.
        classes: names of those to score; None for all of the annotations.

    Returns:
        The scores.

    Raises:
        DatasetError: timelines are missing or invalid; the message lists all of them.
    """
    annotations, about_classes = select_classes(annotations, classes)
    found = read_decisions(folder, annotations, split, allow_missing=allow_missing, others=classes is not None)
    found = found._replace(notes=(*about_classes, *found.notes))
    truth = annotations.segment_labels(annotations.split(split), annotations.segments).select(list(found.rows))
    source = escape(folder.resolve().name)
    if annotations.task == "avel" or found.localized:
        lengths = np.full(len(found.rows), annotations.segments)
        true = classes_of_seconds(find_event_targets(truth, lengths), lengths)
        return evaluate_localization(found.labels, true, annotations, split=split, source=source, notes=found.notes)
    return evaluate(found.labels, truth, split=split, source=source, labels=annotations.labels, notes=found.notes)


def read_decisions(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False, others: bool = False
) -> TimelineDecisions:
    """Read what the timelines in a folder say of the clips of a split.

    Args:
        folder: with a JSON file for each clip, see `read_timeline` and `timeline_files.read_clips`.
        annotations: of the data set; T is its last annotated second, and later events are cut.
        split: "val" or "test".
        allow_missing: leave out the clips that have no timeline; `notes` states the number of the others.
        others: leave out events of classes that the annotations do not have; else they are an error.

    Returns:
        The labels of the clips.

    Raises:
        DatasetError: timelines are missing or invalid; the message lists all of them.
    """
    find = class_names(annotations.labels, others=others)

    def read(path: Path, document: Mapping[str, Any], _: int) -> tuple[SegmentLabels, bool]:
        labels = _read_labels(path, document, annotations.labels, annotations.segments, find)
        return labels, _is_localized(document)

    found = read_clips(folder, annotations, split, read, allow_missing=allow_missing)
    labels, localized = zip(*found.values, strict=True)
    predicted = SegmentLabels(*map(np.stack, zip(*labels, strict=True)))
    return TimelineDecisions(found.rows, predicted, all(localized), found.notes)


def _localization_agreement(timeline: Timeline, truth: SegmentLabels) -> str:
    """Return one line with the share of annotated seconds in which a localizer names a true class, or rightly none."""
    joint = truth.audio_visual[timeline.parsed[0] :]
    try:
        predicted = timeline.per_second_labels(timeline.labels, len(truth.audio)).audio_visual[timeline.parsed[0] :]
    except ValueError as error:
        raise DatasetError(f"{escape(timeline.name)} cannot be compared: {error}") from error
    right = (predicted & joint).any(axis=1) | ~(predicted.any(axis=1) | joint.any(axis=1))
    return f"{np.count_nonzero(right)} of {len(joint)} seconds right" if len(joint) else ""


@dataclass(frozen=True, eq=False)
class AnnotatedClip:
    """Annotated labels of one clip.

    Attributes:
        labels: C class names of the annotations.
        truth: (T, C) labels of the clip.
    """

    labels: tuple[str, ...]
    truth: SegmentLabels

    def check(self, labels: Sequence[str]) -> None:
        """Raise DatasetError unless the annotations have all of these classes."""
        known = set(self.labels)
        if unknown := [label for label in labels if label not in known]:
            raise DatasetError(f"the annotations lack the class {escape(unknown[0])}, which the parser predicts")

    def compare(self, timeline: Timeline) -> GroundTruth:
        """Compare a timeline with the labels.

        Args:
            timeline: of the clip; its classes must pass `check`.

        Returns:
            The labels in the timeline's classes, as long as the annotations within it, and the timeline's F-scores, of
            a localizer the share of right seconds; where a part was parsed, both of its seconds only.

        Raises:
            DatasetError: the labels per second are too many to be compared.
        """
        places = {label: index for index, label in enumerate(self.labels)}
        columns, length = [places[label] for label in timeline.labels], timeline.segments
        truth = SegmentLabels(self.truth.audio[:length][:, columns], self.truth.visual[:length][:, columns])
        for table in truth:  # copies, because of the columns
            table[: timeline.parsed[0]] = False  # seconds that were not parsed are not compared
        if timeline.lanes != SINGLE_MODALITIES:
            return GroundTruth(truth, _localization_agreement(timeline, truth))
        predicted, padded = self._active_part(timeline, truth)
        scores = score(*(table[None] for table in (*predicted, *padded)))
        agreement = "; ".join(
            f"{level} A {part.audio:.0f}, V {part.visual:.0f}, AV {part.audio_visual:.0f}"
            for level, part in (("F-scores per second", scores.segment), ("per event", scores.event))
        )
        return GroundTruth(truth, agreement)

    def _active_part(self, timeline: Timeline, truth: SegmentLabels) -> tuple[SegmentLabels, SegmentLabels]:
        """Return predicted and true labels of the classes and seconds that have any; the others change no score."""
        runs = timeline.active_runs(timeline.segments)
        used = {label for _, label in runs}
        present = {int(index) for table in truth for index in np.flatnonzero(table.any(axis=0))}
        kept = [index for index, label in enumerate(timeline.labels) if index in present or label in used]
        stops = [stop for spans in runs.values() for _, stop in spans]
        length = min(max([len(truth.audio), *stops]), timeline.segments)
        try:
            predicted = timeline.per_second_labels([timeline.labels[index] for index in kept], length)
        except ValueError as error:
            raise DatasetError(f"{escape(timeline.name)} cannot be compared: {error}") from error
        audio, visual = (_fit(table[:, kept], length) for table in truth)
        return predicted, SegmentLabels(audio, visual)


def find_annotated_clip(annotations: Annotations, name: str) -> AnnotatedClip:
    """Find the annotations of a media file among the clips of val and test.

    Args:
        annotations: of the data set.
        name: of the media file, without suffix: a clip's filename or id.

    Returns:
        The labels of the clip.

    Raises:
        DatasetError: the annotations have no per-second labels of such a clip.
    """
    for split in map(annotations.splits.get, ("val", "test")):
        for index, filename in enumerate(split.filenames if split is not None else ()):
            if name in {filename, clip_id(filename)}:
                assert split is not None
                truth = annotations.segment_labels(split, annotations.segments).select(index)
                return AnnotatedClip(annotations.labels, truth)
    raise DatasetError(f"{escape(annotations.folder)}: no labels per second for {escape(name)}")


def _fit(table: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    fitted = np.zeros((length, table.shape[1]), bool)
    fitted[: min(length, len(table))] = table[:length]
    return fitted


def read_timeline(path: Path, labels: Sequence[str], segments: int) -> SegmentLabels:
    """Read the events of a timeline as labels per second.

    Args:
        path: JSON with a list `events`; their modality ("audio", "visual" or, for both, "audio_visual"), label, onset
            and offset in seconds are read.
        labels: C class names.
        segments: T; later events are cut.

    Returns:
        (T, C) labels; a second is active where events of the class cover at least half of it.

    Raises:
        DatasetError: the file cannot be read or is not a timeline of these classes.
    """
    return _read_labels(path, read_document(path), labels, segments, class_names(labels))


def _is_localized(document: Any) -> bool:
    """Return whether a timeline states that it is of a localizer."""
    provenance = document.get("provenance")
    return isinstance(provenance, dict) and provenance.get("task") == "avel"


def _read_labels(
    path: Path, document: Mapping[str, Any], labels: Sequence[str], segments: int, find: Find
) -> SegmentLabels:
    events = read_events(path, document, find)
    try:
        return per_second_labels(events, labels, segments)
    except (ValueError, TypeError) as error:
        raise invalid_timeline(path, error) from error
