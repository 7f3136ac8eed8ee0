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
from ..timeline import Timeline, Truth, per_second_labels
from .evaluate import Decisions, Evaluation, evaluate

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
    heard: list[NDArray[np.bool_]] = []
    seen: list[NDArray[np.bool_]] = []
    missing: list[str] = []
    problems: list[str] = []
    for index, filename in enumerate(chosen.filenames):
        candidates = (folder / f"{name}{_TIMELINE_SUFFIX}" for name in (filename, clip_id(filename)))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            missing.append(f"{escape(filename)}{_TIMELINE_SUFFIX}")
            continue
        try:
            audio, visual = read_timeline(path, annotations.labels, annotations.segments)
        except DatasetError as error:
            problems.append(str(error))
            continue
        rows.append(index)
        heard.append(audio)
        seen.append(visual)
    if missing and (not allow_missing or not rows):
        problems += [f"missing: {name}" for name in missing]
    if problems:
        hint = "" if allow_missing or not missing else " (--allow-missing scores what is there)"
        raise DatasetError.listing(f"the timelines in {escape(folder)} cannot be scored{hint}", problems)
    notes = [f"{len(rows)} of {len(chosen)} clips: the others have no timeline"] if missing else []
    truth = (annotations.dense(chosen, modality, annotations.segments)[rows] for modality in ("audio", "visual"))
    return evaluate(
        Decisions(np.stack(heard), np.stack(seen)), *truth, split=split, source=escape(folder.resolve().name),
        labels=annotations.labels, notes=notes,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ClipTruth:
    """What the annotations say of one clip, (T, C) each."""

    labels: tuple[str, ...]
    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]

    def check(self, labels: Sequence[str]) -> None:
        """Raises DatasetError unless the annotations know these classes."""
        if unknown := [label for label in labels if label not in self.labels]:
            raise DatasetError(f"the annotations do not know {escape(unknown[0])}, which the parser looks for")

    def of(self, timeline: Timeline) -> Truth:
        """For the timeline of this clip: the truth by its classes, and the F-scores by seconds and by events."""
        length, places = timeline.segments, [self.labels.index(label) for label in timeline.labels]
        truth = [_fit(table, length)[:, places] for table in (self.heard, self.seen)]
        events = ((event.modality, event.label, event.onset, event.offset) for event in timeline.events)
        found = per_second_labels(events, timeline.labels, length)
        scores = score(*(table[None] for table in (*found, *truth)))
        told = "; ".join(
            f"{level} A {part.audio:.0f}, V {part.visual:.0f}, AV {part.audio_visual:.0f}"
            for level, part in (("F-scores by second", scores.segment), ("by event", scores.event))
        )
        return Truth(*truth, agreement=told)


def find_truth(annotations: Annotations, name: str) -> ClipTruth:
    """Of the clip whose filename or id a media file's name without suffix is.

    Raises DatasetError where the annotations have no labels by second of such a clip.
    """
    for split in (annotations.splits.get(one) for one in ("val", "test")):
        for index, filename in enumerate(split.filenames if split is not None else ()):
            if name in {filename, clip_id(filename)}:
                assert split is not None
                heard, seen = (annotations.dense(split, m, annotations.segments)[index] for m in ("audio", "visual"))
                return ClipTruth(annotations.labels, heard, seen)
    raise DatasetError(f"{escape(annotations.folder)}: no labels by second of {escape(name)}")


def _fit(table: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    fitted = np.zeros((length, table.shape[1]), bool)
    fitted[: min(length, len(table))] = table[:length]
    return fitted


def read_timeline(path: Path, labels: Sequence[str], segments: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which classes are heard and which are seen in which second, (T, C) each. Raises DatasetError."""
    try:
        events = json.loads(path.read_text(encoding="utf-8"))["events"]
        read = ((e["modality"], e["label"], float(e["onset"]), float(e["offset"])) for e in events)
        return per_second_labels(read, labels, segments)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else escape(error)
        raise DatasetError(f"{escape(path)}: not a timeline: {what}") from error
