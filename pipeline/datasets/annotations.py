"""Annotations of a data set: which events each clip has, in the tab-separated files of LLP.

A folder holds `AVVP_train.csv`, `AVVP_val_pd.csv` and `AVVP_test_pd.csv` (filename, event_labels: the video's classes,
comma separated) and `AVVP_eval_audio.csv` and `AVVP_eval_visual.csv` (filename, onset, offset, event_labels: one class,
whole seconds, for the clips of val and test). Another data set brings the same files and `labels.txt`, its classes one
per line.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..errors import DatasetError
from ..files import write_atomic
from ..segments import MAX_MEDIA_SECONDS, runs
from ..text import count_of, escape
from ..timeline import SegmentLabels

SPLIT_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
EVENT_FILES = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}
LABEL_FILE = "labels.txt"
_CLIP_COLUMNS = ("filename", "event_labels")
EVENT_COLUMNS = ("filename", "onset", "offset", "event_labels")


def label_name_error(name: str) -> str:
    """Why the files of a data set cannot hold a class of this name; empty where they can."""
    if set(name) & set(",\t\r\n"):
        return "it has a comma, a tab or the end of a line in it"
    if not name or name != name.strip():
        return "it is empty, or has space around it"
    return "it means all classes in a file of thresholds" if name == "default" else ""


def usable_clip_name(name: str) -> bool:
    """Whether the files of a data set, in UTF-8, can hold a clip of this name."""
    text = name.encode(errors="ignore").decode()  # without bytes that are no text
    return bool(name) and name == name.strip() == text and not set(name) & set("\t\r\n")


class EventRow(NamedTuple):
    """One annotated event, [onset, offset) in whole seconds."""

    filename: str
    onset: int
    offset: int
    label: int  # index of the class


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """N clips and their video-level labels."""

    name: str
    filenames: tuple[str, ...]
    labels: NDArray[np.bool_]  # (N, C)

    def __len__(self) -> int:
        return len(self.filenames)


@dataclass(frozen=True, eq=False)
class Annotations:
    """All that a folder of annotations says. `notes` lists its dirt, each kind once."""

    folder: Path
    labels: tuple[str, ...]  # C class names
    splits: dict[str, DatasetSplit]
    events: dict[str, tuple[EventRow, ...]]  # modality -> rows, whatever the split
    notes: tuple[str, ...] = field(default=())

    def split(self, name: str) -> DatasetSplit:
        """Raises DatasetError where the folder lacks the split."""
        if name not in self.splits:
            raise DatasetError(f"{escape(self.folder / SPLIT_FILES[name])}: no such file, so no {name} split")
        return self.splits[name]

    @cached_property
    def segments(self) -> int:
        """The last annotated second of the clips in the splits: 10 for LLP. At least 1."""
        known = {name for split in self.splits.values() for name in split.filenames}
        ends = (row.offset for rows in self.events.values() for row in rows if row.filename in known)
        return max([1, *ends])

    def dense(self, split: DatasetSplit, modality: str, segments: int) -> NDArray[np.bool_]:
        """(N, T, C): the class is heard (or seen) in that second, for T = `segments`.

        Counted as the published scorer does: a row whose onset is not before its offset marks nothing, a repeated row
        nothing more, what lies past T is cut. Clips without rows have no events of the modality.
        Raises DatasetError where the folder has no event file of the modality.
        """
        if modality not in self.events:
            raise DatasetError(f"{escape(self.folder / EVENT_FILES[modality])}: no such file, so nothing to score by")
        truth = np.zeros((len(split), segments, len(self.labels)), bool)
        places = {name: index for index, name in enumerate(split.filenames)}
        for row in self.events[modality]:
            if row.filename in places:
                truth[places[row.filename], max(row.onset, 0) : max(row.offset, 0), row.label] = True
        return truth

    def segment_labels(self, split: DatasetSplit, segments: int) -> SegmentLabels:
        """Return (N, T, C) labels of both modalities, see `dense`."""
        return SegmentLabels(self.dense(split, "audio", segments), self.dense(split, "visual", segments))


def read_annotations(folder: Path) -> Annotations:
    """Read what is there of the files of a data set; at least one split must be.

    Raises DatasetError listing every line that cannot be understood, unknown classes among them. Dirt that the
    published scorer tolerates is no error; it is in `notes`.
    """
    if not folder.is_dir():
        raise DatasetError(f"{escape(folder)}: no such folder of annotations")
    labels = read_labels(folder / LABEL_FILE) if (folder / LABEL_FILE).exists() else LLP_LABELS
    problems: list[str] = []
    splits = {
        name: _read_split(name, folder / file, labels, problems)
        for name, file in SPLIT_FILES.items()
        if (folder / file).exists()
    }
    events = {
        modality: _read_events(folder / file, labels, problems)
        for modality, file in EVENT_FILES.items()
        if (folder / file).exists()
    }
    problems += _leaks(splits)
    if not splits and not problems:
        problems.append(f"{escape(folder)}: holds none of {', '.join(SPLIT_FILES.values())}")
    if problems:
        raise DatasetError.listing(f"the annotations in {escape(folder)} cannot be used", problems)
    return Annotations(folder, labels, splits, events, tuple(_dirt(splits, events)))


def write_annotations(folder: Path, labels: Sequence[str], splits: Mapping[str, Mapping[str, SegmentLabels]]) -> None:
    """Write the files of a data set that `read_annotations` reads: classes of each video, events of val and test.

    Raises OutputError.
    """
    if tuple(labels) != LLP_LABELS:
        write_atomic(folder / LABEL_FILE, "".join(f"{label}\n" for label in labels).encode())
    for name, clips in splits.items():
        lines = ["\t".join(_CLIP_COLUMNS)]
        for filename, clip in clips.items():
            classes = np.flatnonzero(clip.audio.any(axis=0) | clip.visual.any(axis=0)).tolist()
            lines.append(f"{filename}\t{','.join(labels[int(index)] for index in classes)}")
        write_atomic(folder / SPLIT_FILES[name], "".join(f"{line}\n" for line in lines).encode())
    annotated = {**splits.get("val", {}), **splits.get("test", {})}
    if not {"val", "test"} & set(splits):
        return
    for modality, file in EVENT_FILES.items():
        tables = {filename: clip.of(modality) for filename, clip in annotated.items()}
        write_atomic(folder / file, format_events(tables, labels).encode())


def format_events(tables: Mapping[str, NDArray[np.bool_]], labels: Sequence[str]) -> str:
    """Format per-second labels of one modality as an event table: a row for each run of active seconds of a class.

    Args:
        tables: clip name -> (T, C), whether the class is active in the second. Names without tabs and newlines.
        labels: C class names without tabs and newlines.

    Returns:
        Tab-separated lines, the first with the names of `EVENT_COLUMNS`.
    """
    lines = ["\t".join(EVENT_COLUMNS)]
    for name, table in tables.items():
        for index, label in enumerate(labels):
            lines += [f"{name}\t{start}\t{stop}\t{label}" for start, stop in runs(table[:, index])]
    return "".join(f"{line}\n" for line in lines)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one per line; empty lines are skipped. Raises DatasetError for none, and for repeated ones."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {error}") from error
    problems = [f"names {name} twice" for name, count in Counter(names).items() if count > 1]
    faults = {name: label_name_error(name) for name in names}
    problems += [f"has a class {name!r}: {fault}" for name, fault in faults.items() if fault]
    if problems or not names:
        raise DatasetError(f"{escape(path)}: the label list {escape(problems[0]) if problems else 'is empty'}")
    return tuple(names)


def _read_split(name: str, path: Path, labels: Sequence[str], problems: list[str]) -> DatasetSplit:
    find = _class_finder(labels)
    rows: dict[str, list[int]] = {}
    for line, (filename, classes) in _rows(path, _CLIP_COLUMNS, problems):
        if filename in rows:
            problems.append(f"{path.name}:{line}: {escape(filename)} is listed twice")
            continue
        rows[filename] = []
        for label in filter(None, (part.strip() for part in classes.split(","))):
            try:
                rows[filename].append(find(label))
            except ValueError as error:
                problems.append(f"{path.name}:{line}: {error}")
    if not rows and not any(problem.startswith(path.name) for problem in problems):
        problems.append(f"{path.name}: the {name} split is empty")
    table = np.zeros((len(rows), len(labels)), bool)
    for index, found in enumerate(rows.values()):
        table[index, found] = True
    return DatasetSplit(name, tuple(rows), table)


def _read_events(path: Path, labels: Sequence[str], problems: list[str]) -> tuple[EventRow, ...]:
    find = _class_finder(labels)
    rows: list[EventRow] = []
    for line, (filename, onset, offset, label) in _rows(path, EVENT_COLUMNS, problems):
        try:
            rows.append(EventRow(filename, _whole(onset), _whole(offset), find(label.strip())))
        except ValueError as error:
            problems.append(f"{path.name}:{line}: {error}")
    return tuple(rows)


def read_clip_names(content: bytes, name: str) -> list[str]:
    """Of the content of a split's file. Raises DatasetError where it cannot be understood."""
    problems: list[str] = []
    found = [filename for _, (filename, _) in read_table(content, name, _CLIP_COLUMNS, problems)]
    if problems:
        raise DatasetError.listing(f"{escape(name)} cannot be used", problems)
    return found


def _rows(path: Path, columns: Sequence[str], problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and the values of the named columns, in their order."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.append(f"{path.name}: cannot be read: {error}")
        return
    yield from read_table(content, path.name, columns, problems)


def read_table(
    content: bytes, name: str, columns: Sequence[str], problems: list[str]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a tab-separated table with a header.

    Args:
        content: UTF-8, with or without a byte order mark.
        name: of the file, for the problems.
        columns: names of the columns to return; the table may have others.
        problems: a line is appended for each row that cannot be read and for missing columns.

    Yields:
        The line number, and the values of `columns` in that order, without surrounding whitespace.
    """
    try:
        text = content.decode("utf-8-sig")
    except ValueError as error:
        problems.append(f"{name}: cannot be read: {error}")
        return
    lines = text.replace("\r\n", "\n").split("\n")  # only these end a line: a name may hold what else Python splits at
    header = lines[0].split("\t")
    missing = [column for column in columns if column not in header]
    if missing:
        problems.append(f"{name}: has no column {', '.join(missing)}; expected tab-separated {', '.join(columns)}")
        return
    places = [header.index(column) for column in columns]
    for number, line in enumerate(lines[1:], 2):
        values = line.split("\t")
        if not line.strip():
            continue
        if len(values) != len(header):
            problems.append(f"{name}:{number}: {len(values)} columns, expected {len(header)}")
            continue
        yield number, [values[place].strip() for place in places]


def _class_finder(labels: Sequence[str]) -> Callable[[str], int]:
    places = {label: index for index, label in enumerate(labels)}

    def find(label: str) -> int:
        if label not in places:
            close = difflib.get_close_matches(label, labels, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"unknown class {label!r}{hint}")
        return places[label]

    return find


def _whole(text: str) -> int:
    try:
        number = float(text)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a whole number of seconds") from None
    if abs(number) > MAX_MEDIA_SECONDS:
        raise ValueError(f"{escape(text)} seconds are more than {MAX_MEDIA_SECONDS // 3600} hours")
    return int(number)


def _leaks(splits: dict[str, DatasetSplit]) -> list[str]:
    """A line for every clip that is in two splits."""
    first: dict[str, str] = {}
    return [
        f"{escape(filename)} is in {first[filename]} and in {split.name}: what is scored must not be trained on"
        for split in splits.values()
        for filename in split.filenames
        if first.setdefault(filename, split.name) != split.name
    ]


def _dirt(splits: dict[str, DatasetSplit], events: dict[str, tuple[EventRow, ...]]) -> Iterator[str]:
    known = {name for split in splits.values() for name in split.filenames}
    for modality, rows in events.items():
        file = EVENT_FILES[modality]
        if strays := {row.filename for row in rows} - known:
            yield f"{file}: {count_of(strays, 'clip')} in no split: not used"
        if backward := [row for row in rows if row.onset >= row.offset]:
            yield f"{file}: {count_of((row.filename for row in backward), 'row')} with onset >= offset: empty"
        if repeated := [row for row, count in Counter(rows).items() for _ in range(count - 1)]:
            yield f"{file}: {count_of((row.filename for row in repeated), 'repeated row')}: counted once"
        for name in ("val", "test"):
            if name in splits and (silent := set(splits[name].filenames) - {row.filename for row in rows}):
                yield f"{file}: {count_of(silent, f'{name} clip')} without rows: no {modality} events"
