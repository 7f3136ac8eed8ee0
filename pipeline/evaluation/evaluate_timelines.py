"""Evaluate timelines on disk, from any program, against the annotations of a split."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...weights.messages import first_line
from ...weights.unicode import decode_unicode
from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id, find_name, name_of_results, names_with_suffix, video_of
from ..datasets.localization import find_event_targets
from ..errors import DatasetError
from ..event_limits import parse_event_json, read_event_bytes
from ..files import list_files, without_media_suffix
from ..metrics import score
from ..text import escape
from ..timeline import MAX_EVENTS, SINGLE_MODALITIES, GroundTruth, SegmentLabels, Timeline, per_second_labels
from .evaluate import Evaluation, evaluate
from .localization import LocalizationEvaluation, classes_of_seconds, evaluate_localization

_TIMELINE_SUFFIX = ".events.json"


class TimelineDecisions(NamedTuple):
    """What the timelines in a folder say of n clips of a split."""

    rows: tuple[int, ...]  # of the clips, in the split
    labels: SegmentLabels  # (n, T, C)
    localized: bool  # all timelines are of localizers
    notes: tuple[str, ...]  # for the reader of scores


def evaluate_timelines(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> Evaluation | LocalizationEvaluation:
    """Score the timelines in a folder: by accuracy where the data set, or all timelines, have one event a second.

    Args:
        folder: of JSON files, see `read_decisions`.
        annotations: of the data set; seconds past its last annotated second are not scored.
        split: "val" or "test".
        allow_missing: score only the clips that have a timeline; `notes` states their number.

    Returns:
        The scores.

    Raises:
        DatasetError: timelines are missing or invalid; the message lists all of them.
    """
    found = read_decisions(folder, annotations, split, allow_missing=allow_missing)
    truth = annotations.segment_labels(annotations.split(split), annotations.segments).select(list(found.rows))
    source = escape(folder.resolve().name)
    if annotations.task == "avel" or found.localized:
        lengths = np.full(len(found.rows), annotations.segments)
        classes = classes_of_seconds(find_event_targets(truth, lengths), lengths)
        return evaluate_localization(found.labels, classes, annotations, split=split, source=source, notes=found.notes)
    return evaluate(found.labels, truth, split=split, source=source, labels=annotations.labels, notes=found.notes)


def read_decisions(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> TimelineDecisions:
    """Read what the timelines in a folder say of the clips of a split.

    Args:
        folder: with a JSON file for each clip, see `read_timeline`: called `<filename>` or `<id>` (the suffix of a
            media file may follow, then `.events.json` or `.json`), or stating the clip as its media file, by which data
            sets name it.
        annotations: of the data set; T is its last annotated second, and later events are cut.
        split: "val" or "test".
        allow_missing: leave out the clips that have no timeline; `notes` states the number of the others.

    Returns:
        The labels of the clips.

    Raises:
        DatasetError: timelines are missing or invalid; the message lists all of them.
    """
    clips = annotations.split(split)
    rows: list[int] = []
    decisions: list[SegmentLabels] = []
    missing: list[str] = []
    problems: list[str] = []
    tasks: set[bool] = set()  # whether timelines are of localizers
    found, ambiguous = _find_timelines(folder, clips.filenames, annotations.videos)
    problems += ambiguous
    clips_by_name = {name: filename for filename in clips.filenames for name in (clip_id(filename), filename)}

    def of_video(filename: str) -> str:
        return clip_id(video_of(filename, annotations.videos))

    for index, filename in enumerate(clips.filenames):
        path = found.get(filename)
        if path is None:
            missing.append(f"{escape(filename)}{_TIMELINE_SUFFIX}")
            continue
        try:
            document = _read_document(path)
            stated = _stated_name(path, document)
            other = None if stated is None else clips_by_name.get(stated)
            if other is not None and of_video(other) != of_video(filename):
                raise DatasetError(f"{escape(path)}: called like one clip, but states that it is of {escape(stated)}")
            labels = _read_labels(path, document, annotations.labels, annotations.segments)
        except DatasetError as error:
            problems.append(str(error))
            continue
        tasks.add(_is_localized(document))
        rows.append(index)
        decisions.append(labels)
    if missing and (not allow_missing or not rows):
        problems += [f"missing: {name}" for name in missing]
    if problems:
        hint = "" if allow_missing or not missing else " (--allow-missing scores the others)"
        raise DatasetError.listing(f"the timelines in {escape(folder)} cannot be scored{hint}", problems)
    notes = [f"{len(rows)} of {len(clips)} clips: the others have no timeline"] if missing else []
    predicted = SegmentLabels(*map(np.stack, zip(*decisions, strict=True)))
    return TimelineDecisions(tuple(rows), predicted, tasks == {True}, tuple(notes))


def _find_timelines(
    folder: Path, filenames: Sequence[str], videos: Mapping[str, str]
) -> tuple[dict[str, Path], list[str]]:
    """Find the file of each clip: by its name, and where there is none of the clip's name by the media that it states.

    Args:
        folder: of the files, and of folders with others; hidden ones are left out.
        filenames: of the clips.
        videos: of `Annotations`.

    Returns:
        Clip -> file, and a line for each clip of which several files state that they are its timeline.
    """
    files = _list_timelines(folder)
    found = _match(filenames, files, videos)
    rest = [filename for filename in filenames if filename not in found]
    if not rest:
        return found, []
    used = set(found.values())
    by_media: dict[str, Path] = {}
    rivals: dict[str, Path] = {}
    for path in sorted(set(files.values()) - used):
        with contextlib.suppress(DatasetError):  # JSON of another kind
            if name := _stated_name(path, _read_document(path)):
                (rivals if name in by_media else by_media)[name] = path
    matched = _match(rest, by_media, videos)
    problems = [
        f"{escape(by_media[name])} and {escape(rivals[name])}: both state that they are of {escape(name)}"
        for name in rivals
        if by_media[name] in matched.values()
    ]
    return found | matched, problems


def _match(filenames: Sequence[str], files: Mapping[str, Path], videos: Mapping[str, str]) -> dict[str, Path]:
    with_suffix = names_with_suffix(files)
    names = {filename: find_name(filename, files.keys(), with_suffix, videos) for filename in filenames}
    return {filename: files[name] for filename, name in names.items() if name is not None}


def _list_timelines(folder: Path) -> dict[str, Path]:
    """Return name -> file of the JSON files in a folder and below it; `NAME.events.json` goes before `NAME.json`."""
    try:
        files = list_files(folder, recursive=True)
    except OSError as error:
        raise DatasetError(f"{escape(folder)}: cannot be listed: {error.strerror}") from error
    named: dict[str, Path] = {}
    for suffix in (".json", _TIMELINE_SUFFIX):
        for file in files:
            if file.name.endswith(suffix):
                named[file.relative_to(folder).as_posix().removesuffix(suffix)] = file
    return named


def _stated_name(path: Path, document: Any) -> str | None:
    """Return the name of the media file that a timeline states, None where it states none."""
    media = document.get("media")
    stated = media.get("path") if isinstance(media, dict) and "events" in document else None
    if not isinstance(stated, str) or not stated:
        return None
    base = path.name.removesuffix(_TIMELINE_SUFFIX).removesuffix(".json")
    return name_of_results(base, without_media_suffix(PurePath(stated).name)) or None


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
    return _read_labels(path, _read_document(path), labels, segments)


def _read_document(path: Path) -> Any:
    """Read a JSON object. Raises DatasetError."""
    try:
        # An event that is not an interval is named as such.
        document = parse_event_json(decode_unicode(read_event_bytes(path)), finite=False)
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{escape(path)}: not a timeline: {first_line(error)}") from error
    return document


def _is_localized(document: Any) -> bool:
    """Return whether a timeline states that it is of a localizer."""
    provenance = document.get("provenance")
    return isinstance(provenance, dict) and provenance.get("task") == "avel"


def _read_labels(path: Path, document: Any, labels: Sequence[str], segments: int) -> SegmentLabels:
    try:
        events = document["events"]
        if len(events) > MAX_EVENTS:
            raise ValueError(f"more than {MAX_EVENTS:,} events")
        rows = ((e["modality"], e["label"], float(e["onset"]), float(e["offset"])) for e in events)
        return per_second_labels(rows, labels, segments)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        cause = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise DatasetError(f"{escape(path)}: not a timeline: {cause}") from error
