"""Read the annotations of UnAV-100: a JSON file with the audio-visual events of untrimmed videos.

    {"database": {"<id>": {"duration": 47.68, "subset": "train",
                           "annotations": [{"segment": [13.01, 15.78], "label": "skateboarding", "label_id": 36}]}}}

Subsets are train, validation and test. An event is heard and seen. ActivityNet's files have the same form, without
`label_id`; their classes are in alphabetical order. Data of one's own may be written like this, too.

Source:
    Geng et al.: Dense-Localizing Audio-Visual Events in Untrimmed Videos: A Large-Scale Benchmark and Baseline, CVPR
    2023. Seconds: the program of UWAV (Lai et al., CVPR 2025), which takes the shortest span of whole seconds that
    holds an event.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...models.config import MAX_LABELS
from ...weights.messages import shown
from ..errors import DatasetError
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape
from ..text_files import read_json
from .annotation_cells import MAX_PROBLEMS, label_name_error, usable_clip_name

UNAV_FILE = "unav100_annotations.json"  # as published
_SPLITS = {"train": "train", "training": "train", "validation": "val", "val": "val", "test": "test", "testing": "test"}


class UnavEvent(NamedTuple):
    """One event, [onset, offset) in whole seconds."""

    onset: int
    offset: int
    label: int  # index of the class


class UnavVideo(NamedTuple):
    """One video."""

    split: str  # "train", "val" or "test"
    seconds: int  # its duration, rounded up
    events: tuple[UnavEvent, ...]
    spans: tuple[tuple[float, float, int], ...] = ()  # onset, offset and class of each event as it is annotated


class UnavAnnotations(NamedTuple):
    """Content of a file."""

    labels: tuple[str, ...]  # C class names, by their numbers
    videos: dict[str, UnavVideo]  # id -> video
    task: Literal["avvp", "avel"] = "avvp"  # "avel" where a video has one class
    unseen: frozenset[str] = frozenset()  # videos whose class no training video has


def read_unav(path: Path) -> UnavAnnotations:
    """Read a file of annotations.

    Args:
        path: of the file.

    Returns:
        Classes and videos.

    Raises:
        DatasetError: the file is unreadable or has invalid entries; the message lists all of them.
    """
    try:
        document = read_json(path)
        database = document.get("database") if isinstance(document, dict) else None
        if not isinstance(database, dict) or not database:
            raise ValueError("has no table 'database' with videos")
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: not annotations in the form of UnAV-100: {escape(error)}") from error
    problems: list[str] = []
    labels = _read_labels(database, problems)
    indices = {label: index for index, label in enumerate(labels)}
    videos: dict[str, UnavVideo] = {}
    for name, entry in database.items():
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            videos[name] = _read_video(name, entry, indices)
        except ValueError as error:
            problems.append(f"{shown(name)}: {error}")
    if problems:
        raise DatasetError.listing(f"{escape(path)} cannot be used", problems)
    return UnavAnnotations(labels, videos)


def _read_labels(database: dict[str, Any], problems: list[str]) -> tuple[str, ...]:
    """Return the classes of all events in the order of their numbers, or of the alphabet."""
    numbers: dict[str, Any] = {}
    for entry in database.values():
        listed = entry.get("annotations") if isinstance(entry, dict) else None
        for event in listed if isinstance(listed, list) else ():
            if not isinstance(event, dict) or not isinstance(event.get("label"), str):
                continue  # reported with the video
            label, number = event["label"], event.get("label_id")
            if numbers.setdefault(label, number) != number and len(problems) <= MAX_PROBLEMS:
                both = f"{shown(numbers[label])} and {shown(number)}"
                problems.append(f"class {shown(label)} has the numbers {both}")
    problems += [
        f"class {shown(label)}: {fault}" for label in numbers if (fault := label_name_error(label, commas=True))
    ]
    if not numbers or len(numbers) > MAX_LABELS:
        problems.append(f"{len(numbers):,} classes, expected 1 to {MAX_LABELS:,}")
    given = list(numbers.values())
    if any(number is not None for number in given):
        if any(type(number) is not int for number in given) or len(set(given)) < len(given):
            problems.append("the numbers of the classes (label_id) are not different whole numbers")
            return tuple(numbers)
        return tuple(sorted(numbers, key=numbers.__getitem__))
    return tuple(sorted(numbers))


def _read_video(name: str, entry: Any, indices: dict[str, int]) -> UnavVideo:
    """Read the entry of a video. Raises ValueError."""
    if not usable_clip_name(name):
        raise ValueError("not a name that a clip of a data set can have")
    if not isinstance(entry, dict):
        raise ValueError(f"is {shown(entry)}, expected a table")
    subset = entry.get("subset")
    split = _SPLITS.get(subset.lower()) if isinstance(subset, str) else None
    if split is None:
        raise ValueError(f"subset is {shown(subset)}, not one of train, validation, test")
    duration = _read_time("duration", entry.get("duration"))
    listed = entry.get("annotations", [])
    if not isinstance(listed, list):
        raise ValueError(f"annotations is {shown(listed)}, expected a list")
    spans = tuple(_read_event(event, indices) for event in listed)
    events = tuple(UnavEvent(math.floor(start), math.ceil(end), label) for start, end, label in spans)
    return UnavVideo(split, max(1, math.ceil(duration)), events, spans)


def _read_event(event: Any, indices: dict[str, int]) -> tuple[float, float, int]:
    if not isinstance(event, dict) or not isinstance(event.get("label"), str):
        raise ValueError(f"an event is {shown(event)}, expected a table with label and segment")
    span = event.get("segment")
    if not isinstance(span, list) or len(span) != 2:
        raise ValueError(f"segment is {shown(span)}, expected [start, end]")
    start, end = (_read_time("segment", time) for time in span)
    if end < start:
        raise ValueError(f"segment is {shown(span)}: its end is before its start")
    return start, end, indices[event["label"]]


def _read_time(what: str, value: Any) -> float:
    if type(value) not in {int, float} or not 0 <= value <= MAX_MEDIA_SECONDS:
        raise ValueError(f"{what} is {shown(value)}, expected seconds from 0 to {MAX_MEDIA_SECONDS}")
    return float(value)
