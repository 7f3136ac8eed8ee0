"""Weak labels: which classes a video has at all, from a table or from the annotations of a data set."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ..datasets.annotations import EVENT_COLUMNS, SPLIT_FILES, Annotations
from ..datasets.clips import clip_id
from ..errors import DatasetError
from ..files import MEDIA_SUFFIXES
from ..text import escape

WeakLabels = dict[str, NDArray[np.bool_]]  # clip -> (C,)
_COLUMNS = ("filename", "event_labels")


def annotated_labels(annotations: Annotations, splits: Sequence[str]) -> WeakLabels:
    """Of the clips of some splits, classes in the order of the annotations."""
    found: WeakLabels = {}
    for split in map(annotations.split, splits):
        found |= zip(split.filenames, split.labels, strict=True)
    return found


def read_table(path: Path, labels: Sequence[str]) -> WeakLabels:
    """Of a file with columns `filename` and `event_labels` (classes between commas), tab- or comma-separated.

    So is LLP's AVVP_train.csv; the suffix of a media file is left out of account. Raises DatasetError, for the files of
    val and test, too: labels of those are made by the name of their split.
    """
    if path.name in {SPLIT_FILES["val"], SPLIT_FILES["test"]}:
        raise DatasetError(f"{escape(path)}: labels made of it must not be trained on; name its folder, with --split")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {error}") from error
    header = text.split("\n", 1)[0].rstrip("\r")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in header else ",")
    found: WeakLabels = {}
    problems = []
    try:
        columns = next(rows, [])
        if not set(_COLUMNS) <= set(columns):
            shown = header[:80]
            raise DatasetError(f"{escape(path)}: has no columns filename and event_labels, but {shown!r}")
        if set(EVENT_COLUMNS) <= set(columns):
            raise DatasetError(f"{escape(path)}: lists events by second; labels of them would give the answer away")
        places = [columns.index(column) for column in _COLUMNS]
        for row in filter(None, rows):
            if len(row) != len(columns):
                hint = "; several classes go between quotes" if len(row) > len(columns) and "," in header else ""
                problems.append(f"line {rows.line_num}: {len(row)} columns, expected {len(columns)}{hint}")
                continue
            file, classes = (row[place] for place in places)
            name = str(PurePath(file).with_suffix("")) if PurePath(file).suffix.lower() in MEDIA_SUFFIXES else file
            named = [label.strip() for label in classes.split(",") if label.strip()]
            if unknown := [label for label in named if label not in labels]:
                problems.append(f"line {rows.line_num}: unknown class {escape(unknown[0])}")
            if not name or name in found:
                problems.append(f"line {rows.line_num}: {name!r} is no name, or named before")
            found[name] = np.array([label in named for label in labels])
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    if problems or not found:
        raise DatasetError.listing(f"{escape(path)} cannot be used", problems or ["it lists no clip"])
    return found


def match_videos(videos: Iterable[str], clips: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Video -> the clip that it is, by its whole name, by its last parts, or by the id in `<id>_<start>_<end>`.

    The id serves where one of the two has no times, as LLP's videos have none; names with other times are other
    clips. Videos that are no clip are left out, and so are those that are like a clip which another is better.
    Raises DatasetError where two videos are the same clip, or a video may be several; of `others`, videos that nobody
    asks about, the second is left out instead.
    """
    by_id = _by_id(clips)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}  # clip -> video
    asked = dict.fromkeys(videos)
    for alike in _ALIKE:
        before = set(taken)
        for video in (*asked, *others):
            likely = [] if video in found else [clip for clip in by_id[_id(video)] if alike(video, clip)]
            if not likely or before.intersection(likely):
                continue
            rival = taken.get(likely[0])
            if len(likely) == 1 and rival is None:
                found[video], taken[likely[0]] = likely[0], video
            elif video in asked and len(likely) > 1:
                both = " and ".join(map(escape, likely[:2]))
                raise DatasetError(f"{escape(video)}: is named like the clips {both}")
            elif video in asked:
                both = f"{escape(rival)} and {escape(video)}"
                raise DatasetError(f"{both}: both are named like the clip {escape(likely[0])}")
    return {video: found[video] for video in (*asked, *others) if video in found}


def matching_names(names: Iterable[str], clips: Iterable[str]) -> set[str]:
    """The names that are, or may be, those of one of the clips."""
    by_id = _by_id(clips)
    return {name for name in names for clip in by_id[_id(name)] if any(alike(name, clip) for alike in _ALIKE)}


def _by_id(clips: Iterable[str]) -> defaultdict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for clip in sorted(set(clips)):
        found[_id(clip)].append(clip)
    return found


def _id(name: str) -> str:
    return clip_id(PurePath(name).name)


def _same(video: str, clip: str) -> bool:
    return PurePath(video) == PurePath(clip)


def _same_end(video: str, clip: str) -> bool:
    return _end(PurePath(video).parts, PurePath(clip).parts)


def _same_id(video: str, clip: str) -> bool:
    one, other = PurePath(video), PurePath(clip)
    untimed = [path.name for path in (one, other) if clip_id(path.name) == path.name]
    return len(untimed) == 1 and _end(one.parts[:-1], other.parts[:-1])


def _end(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the longer ends as the shorter is."""
    shorter = min(len(one), len(other))
    return one[len(one) - shorter :] == other[len(other) - shorter :]


_ALIKE = (_same, _same_end, _same_id)  # the better first
