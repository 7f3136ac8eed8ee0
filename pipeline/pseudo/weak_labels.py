"""Weak labels: which classes a video has at all, from a table or from the annotations of a data set."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ..annotations import SPLIT_FILES, Annotations
from ..dataset import clip_id
from ..errors import DatasetError, printable
from ..files import MEDIA_SUFFIXES

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
        raise DatasetError(
            f"{printable(path)}: labels made of it must not be trained on; name its folder, with --split"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{printable(path)}: cannot be read: {error}") from error
    header = text.split("\n", 1)[0].rstrip("\r")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in header else ",")
    found: WeakLabels = {}
    problems = []
    try:
        columns = next(rows, [])
        if not set(_COLUMNS) <= set(columns):
            shown = header[:80]
            raise DatasetError(f"{printable(path)}: has no columns filename and event_labels, but {shown!r}")
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
                problems.append(f"line {rows.line_num}: unknown class {printable(unknown[0])}")
            if not name or name in found:
                problems.append(f"line {rows.line_num}: {name!r} is no name, or named before")
            found[name] = np.array([label in named for label in labels])
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    if problems or not found:
        raise DatasetError.listing(f"{printable(path)} cannot be used", problems or ["it lists no clip"])
    return found


def match_videos(videos: Iterable[str], clips: Iterable[str]) -> dict[str, str]:
    """Video -> the clip that it is, by its whole name, by its last parts, or by the id in `<id>_<start>_<end>`.

    The id serves where one of the two has no times, as LLP's videos have none; names with other times are other
    clips. Videos that are no clip are left out. Raises DatasetError where two videos are the same clip, or a video may
    be several.
    """
    by_id: dict[str, list[str]] = defaultdict(list)
    for clip in sorted(set(clips)):
        by_id[clip_id(PurePath(clip).name)].append(clip)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}  # clip -> video
    videos = list(videos)
    for alike in (_same, _same_end, _same_id):
        before = set(taken)
        for video in videos:
            if video in found:
                continue
            clips_like = by_id.get(clip_id(PurePath(video).name), ())
            likely = [clip for clip in clips_like if clip not in before and alike(PurePath(video), PurePath(clip))]
            if len(likely) > 1:
                both = " and ".join(map(printable, likely[:2]))
                raise DatasetError(f"{printable(video)}: is named like the clips {both}")
            if likely and likely[0] in taken:
                both = f"{printable(taken[likely[0]])} and {printable(video)}"
                raise DatasetError(f"{both}: both are named like the clip {printable(likely[0])}")
            if likely:
                found[video], taken[likely[0]] = likely[0], video
    return {video: found[video] for video in videos if video in found}


def _same(video: PurePath, clip: PurePath) -> bool:
    return video == clip


def _same_end(video: PurePath, clip: PurePath) -> bool:
    shorter = min(len(video.parts), len(clip.parts))
    return video.parts[-shorter:] == clip.parts[-shorter:]


def _same_id(video: PurePath, clip: PurePath) -> bool:
    names = (video.name, clip.name)
    untimed = [name for name in names if clip_id(name) == name]
    return len(untimed) == 1 and _same_end(video.with_name("x"), clip.with_name("x"))
