"""Timelines on disk, of any program, against the annotations of a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets.annotations import Annotations
from ..datasets.clips import clip_id
from ..errors import DatasetError
from ..metrics import score
from ..text import escape
from ..timeline import GroundTruth, SegmentLabels, Timeline, per_second_labels
from .evaluate import Evaluation, evaluate

_TIMELINE_SUFFIX = ".events.json"


def evaluate_timelines(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> Evaluation:
    """Score the timelines in a folder: `<filename>.events.json` or `<id>.events.json`, of any program.

    Only `events` is read of each: modality ("audio", "visual" or, for both, "audio_visual"), label, onset and offset in
    seconds. A second is active where events of the class cover at least half of it. What lies past the last
    annotated second of the data set is not scored. Raises DatasetError listing timelines that are missing (unless
    `allow_missing`: then only what is there is scored, and `notes` says so) or cannot be understood.
    """
    chosen = annotations.split(split)
    rows: list[int] = []
    decisions: list[SegmentLabels] = []
    missing: list[str] = []
    problems: list[str] = []
    for index, filename in enumerate(chosen.filenames):
        candidates = (folder / f"{name}{_TIMELINE_SUFFIX}" for name in (filename, clip_id(filename)))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            missing.append(f"{escape(filename)}{_TIMELINE_SUFFIX}")
            continue
        try:
            labels = read_timeline(path, annotations.labels, annotations.segments)
        except DatasetError as error:
            problems.append(str(error))
            continue
        rows.append(index)
        decisions.append(labels)
    if missing and (not allow_missing or not rows):
        problems += [f"missing: {name}" for name in missing]
    if problems:
        hint = "" if allow_missing or not missing else " (--allow-missing scores what is there)"
        raise DatasetError.listing(f"the timelines in {escape(folder)} cannot be scored{hint}", problems)
    notes = [f"{len(rows)} of {len(chosen)} clips: the others have no timeline"] if missing else []
    truth = annotations.segment_labels(chosen, annotations.segments).select(rows)
    return evaluate(
        SegmentLabels(*map(np.stack, zip(*decisions, strict=True))),
        truth,
        split=split,
        source=escape(folder.resolve().name),
        labels=annotations.labels,
        notes=notes,
    )


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
        if unknown := [label for label in labels if label not in self.labels]:
            raise DatasetError(f"the annotations do not know {escape(unknown[0])}, which the parser looks for")

    def compare(self, timeline: Timeline) -> GroundTruth:
        """Return the labels in the timeline's classes and length, and its F-scores by seconds and by events."""
        length, columns = timeline.segments, [self.labels.index(label) for label in timeline.labels]
        truth = SegmentLabels(*(_fit(table, length)[:, columns] for table in self.truth))
        events = ((event.modality, event.label, event.onset, event.offset) for event in timeline.events)
        predicted = per_second_labels(events, timeline.labels, length)
        scores = score(*(table[None] for table in (*predicted, *truth)))
        agreement = "; ".join(
            f"{level} A {part.audio:.0f}, V {part.visual:.0f}, AV {part.audio_visual:.0f}"
            for level, part in (("F-scores by second", scores.segment), ("by event", scores.event))
        )
        return GroundTruth(truth, agreement)


def find_annotated_clip(annotations: Annotations, name: str) -> AnnotatedClip:
    """Find the annotations of a media file among the clips of val and test.

    Args:
        annotations: of the data set.
        name: the media file's name without suffix; a clip's filename or id.

    Raises:
        DatasetError: the annotations have no per-second labels of such a clip.
    """
    for split in (annotations.splits.get(one) for one in ("val", "test")):
        for index, filename in enumerate(split.filenames if split is not None else ()):
            if name in {filename, clip_id(filename)}:
                assert split is not None
                truth = annotations.segment_labels(split, annotations.segments).select(index)
                return AnnotatedClip(annotations.labels, truth)
    raise DatasetError(f"{escape(annotations.folder)}: no labels by second of {escape(name)}")


def _fit(table: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    fitted = np.zeros((length, table.shape[1]), bool)
    fitted[: min(length, len(table))] = table[:length]
    return fitted


def read_timeline(path: Path, labels: Sequence[str], segments: int) -> SegmentLabels:
    """Read a timeline as (T, C) labels of seconds 0 to `segments` - 1. Raises DatasetError."""
    try:
        events = json.loads(path.read_text(encoding="utf-8"))["events"]
        read = ((e["modality"], e["label"], float(e["onset"]), float(e["offset"])) for e in events)
        return per_second_labels(read, labels, segments)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else escape(error)
        raise DatasetError(f"{escape(path)}: not a timeline: {what}") from error
