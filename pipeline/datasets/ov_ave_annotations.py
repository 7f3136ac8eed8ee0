"""Read the annotations of OV-AVEBench: a table of clips, and a JSON file with the seconds of each clip's event.

ovave_dataset_meta.csv                   split, cls_name, cls_type, vid_name: class of the clip, "close" where training
                                         clips have the class, "open" where they do not
ovavel_dataset_anno.json                 {"<id>": {"category": "dog barking", "label": "[0, 1, 1, ...]"}}: a 1 for each
                                         second in which the class is heard and seen
ovave_total_close_open_categories.csv    class names, one per line, "other" last; without it, the classes are sorted

Source:
    Zhou et al.: Towards Open-Vocabulary Audio-Visual Event Localization, CVPR 2025, and the files of its repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...models.config import MAX_LABELS
from ...weights.messages import shown
from ..errors import DatasetError
from ..segments import MAX_MEDIA_SECONDS, runs
from ..tables import parse_table
from ..text import escape
from ..text_files import parse_json, read_json, read_text
from .annotation_cells import MAX_PROBLEMS, label_name_error, usable_clip_name
from .unav_annotations import UnavAnnotations, UnavEvent, UnavVideo

OV_AVE_FILE = "ovave_dataset_meta.csv"  # as published
SECONDS_FILES = ("ovavel_dataset_anno.json", "released_ovavel_dataset_anno.json")
CLASS_FILE = "ovave_total_close_open_categories.csv"
OTHER = "other"  # in the list of classes, for seconds that have none of them
_COLUMNS = ("split", "cls_name", "cls_type", "vid_name")
_SPLITS = ("train", "val", "test")
_KINDS = {"close": False, "open": True}  # -> whether training clips lack the class


def read_ov_ave(folder: Path) -> UnavAnnotations:
    """Read a folder of annotations.

    Args:
        folder: with `OV_AVE_FILE` and one of `SECONDS_FILES`.

    Returns:
        Classes and clips, each with the runs of seconds of its one class, and the clips whose class is unseen.

    Raises:
        DatasetError: a file is missing, unreadable or has invalid entries; the message lists all of them.
    """
    rows = _read_rows(folder / OV_AVE_FILE)
    file = next((folder / name for name in SECONDS_FILES if (folder / name).exists()), None)
    if file is None:
        raise DatasetError(f"{escape(folder)}: lacks {SECONDS_FILES[0]}, which says in which seconds events are")
    try:
        seconds = read_json(file)
        if not isinstance(seconds, dict):
            raise ValueError(f"is {shown(seconds)}, expected a table of clips")
    except ValueError as error:
        raise DatasetError(f"{escape(file)}: {escape(error)}") from error
    labels = _read_classes(folder / CLASS_FILE, {label for _, label, _ in rows.values()})
    indices = {label: index for index, label in enumerate(labels)}
    videos: dict[str, UnavVideo] = {}
    problems: list[str] = []
    for name, (split, label, _) in rows.items():
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            active = _read_seconds(seconds.get(name), label)
        except ValueError as error:
            problems.append(f"{file.name}: {shown(name)}: {error}")
            continue
        events = tuple(UnavEvent(onset, offset, indices[label]) for onset, offset in runs(active))
        videos[name] = UnavVideo(split, len(active), events)
    if problems:
        raise DatasetError.listing(f"the annotations in {escape(folder)} cannot be used", problems)
    unseen = frozenset(name for name, (_, _, is_unseen) in rows.items() if is_unseen)
    return UnavAnnotations(labels, videos, "avel", unseen)


def _read_rows(path: Path) -> dict[str, tuple[str, str, bool]]:
    """Return clip -> split, class, and whether the class is unseen. Raises DatasetError."""
    try:
        table = parse_table(read_text(path, legacy=True).text, _COLUMNS)
        table.require(_COLUMNS, separated="comma-separated")
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {error}") from error
    problems = [f"{path.name}:{problem.line}: {problem.cause}" for problem in table.problems]
    rows: dict[str, tuple[str, str, bool]] = {}
    for row in table.rows:
        if len(problems) > MAX_PROBLEMS:
            break
        split, label, kind, name = (row.cells[column] for column in _COLUMNS)
        if split not in _SPLITS:
            fault = f"split is {shown(split)}, not one of {', '.join(_SPLITS)}"
        elif kind not in _KINDS:
            fault = f"cls_type is {shown(kind)}, not one of {', '.join(_KINDS)}"
        elif cause := label_name_error(label, commas=True):
            fault = f"class {shown(label)}: {cause}"
        elif not usable_clip_name(name):
            fault = f"{shown(name)} is not a name that a clip of a data set can have"
        else:
            fault = f"{shown(name)} is listed twice" if name in rows else ""
            rows.setdefault(name, (split, label, _KINDS[kind]))
        if fault:
            problems.append(f"{path.name}:{row.line}: {fault}")
    if not rows and not problems:
        problems.append(f"{path.name}: lists no clip")
    if problems:
        raise DatasetError.listing(f"{escape(path)} cannot be used", problems)
    return rows


def _read_classes(path: Path, named: set[str]) -> tuple[str, ...]:
    """Return the classes in the order of the file, without "other". Raises DatasetError."""
    labels = sorted(named)
    try:
        if path.exists():
            lines = (line.strip() for line in read_text(path, legacy=True).lines())
            labels = list(dict.fromkeys(line for line in lines if line and (line != OTHER or line in named)))
        for label in labels:
            if cause := label_name_error(label, commas=True):
                raise ValueError(f"class {shown(label)}: {cause}")
        if missing := sorted(named.difference(labels)):
            raise ValueError(f"lacks the class {shown(missing[0])}, which a clip in {OV_AVE_FILE} has")
        if len(labels) > MAX_LABELS:
            raise ValueError(f"{len(labels):,} classes are more than {MAX_LABELS:,}")
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: {escape(error)}") from error
    return tuple(labels)


def _read_seconds(entry: Any, label: str) -> list[bool]:
    """Return whether the event is there, for each second. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError("has no entry" if entry is None else f"is {shown(entry)}, expected a table")
    if entry.get("category") != label:
        raise ValueError(f"category is {shown(entry.get('category'))}, in {OV_AVE_FILE} {shown(label)}")
    bits = entry.get("label")
    if isinstance(bits, str):  # as published: a list inside a string
        bits = parse_json(bits)
    if not isinstance(bits, list) or not all(type(bit) is int and bit in {0, 1} for bit in bits):
        raise ValueError(f"label is {shown(bits)}, expected a 0 or a 1 for each second")
    if not 1 <= len(bits) <= MAX_MEDIA_SECONDS:
        raise ValueError(f"label has {len(bits):,} seconds, expected 1 to {MAX_MEDIA_SECONDS:,}")
    return [bool(bit) for bit in bits]
