"""Weak labels: which classes a video has at all, from a table or from the annotations of a data set."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ..annotations import read_annotations
from ..dataset import clip_id
from ..errors import DatasetError, printable
from ..files import MEDIA_SUFFIXES

WeakLabels = dict[str, NDArray[np.bool_]]  # clip -> (C,)


def read_weak_labels(path: Path, labels: Sequence[str], splits: Sequence[str]) -> WeakLabels:
    """Of a folder of annotations, those of some splits; of a file, all.

    A file has columns `filename` and `event_labels` (classes between commas), tab- or comma-separated, as LLP's
    AVVP_train.csv does; the suffix of a media file is left out of account. Raises DatasetError.
    """
    if path.is_dir():
        annotations = read_annotations(path)
        if unknown := [label for label in annotations.labels if label not in labels]:
            raise DatasetError(
                f"{printable(path)}: nothing is asked of the class {printable(unknown[0])}; see --prompts"
            )
        places = [labels.index(label) for label in annotations.labels]
        found: WeakLabels = {}
        for split in (annotations.split(name) for name in splits):
            for name, row in zip(split.filenames, split.labels, strict=True):
                found[name] = np.zeros(len(labels), bool)
                found[name][places] = row
        return found
    return _read_table(path, labels)


def _read_table(path: Path, labels: Sequence[str]) -> WeakLabels:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{printable(path)}: cannot be read: {error}") from error
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    if not {"filename", "event_labels"} <= set(rows.fieldnames or ()):
        raise DatasetError(f"{printable(path)}: has no columns filename and event_labels")
    found: WeakLabels = {}
    problems = []
    try:
        for row in rows:
            file = PurePath(row["filename"] or "")
            name = file.stem if file.suffix.lower() in MEDIA_SUFFIXES else file.name
            named = [label.strip() for label in (row["event_labels"] or "").split(",") if label.strip()]
            if unknown := [label for label in named if label not in labels]:
                problems.append(f"line {rows.line_num}: unknown class {printable(unknown[0])}")
            if not name or name in found:
                problems.append(f"line {rows.line_num}: {printable(name)!r} is no name, or named before")
            found[name] = np.array([label in named for label in labels])
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    if problems or not found:
        raise DatasetError.listing(f"{printable(path)} cannot be used", problems or ["it lists no clip"])
    return found


def match_videos(videos: Iterable[str], clips: Iterable[str]) -> dict[str, str]:
    """Video -> the clip that it is: of the same name, or with the id of `<id>_<start>_<end>`, as LLP's are.

    Videos that are no clip are left out. Raises DatasetError where two videos are the same clip.
    """
    clips = set(clips)
    by_id = {clip_id(clip): clip for clip in clips}
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for video in videos:
        last = PurePath(video).name
        candidates = (video, last, by_id.get(last), clip_id(last), by_id.get(clip_id(last)))
        clip = next((one for one in candidates if one in clips), None)
        if clip is None:
            continue
        if clip in taken:
            both = f"{printable(taken[clip])} and {printable(video)}"
            raise DatasetError(f"{both}: both are named like the clip {printable(clip)}")
        found[video], taken[clip] = clip, video
    return found
