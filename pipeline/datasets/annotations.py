"""Read the annotations of a data set, in the tab-separated format of LLP, in AVE's (`ave_annotations`) or UnAV-100's.

AVVP_train.csv, AVVP_val_pd.csv, AVVP_test_pd.csv   filename, event_labels: classes of the video, comma separated
AVVP_eval_audio.csv, AVVP_eval_visual.csv           filename, onset, offset, event_labels: one class, whole seconds;
                                                    for the clips of val and test
labels.txt                                          class names, one per line; without it, the classes are LLP's
noisySet.txt                                        names of clips without an event, for weak training of localizers
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.config import MAX_LABELS
from ...models.labels import LLP_LABELS
from ..errors import DatasetError
from ..tables import NumberReader
from ..text import count_of, escape, shorten
from ..text_files import decode_text, read_text
from ..timeline import SegmentLabels
from .annotation_cells import MAX_PROBLEMS, class_finder, label_name_error, read_table, split_labels, whole_seconds
from .ave_annotations import (
    AVE_FILE,
    NOISY,
    NOISY_LABELS,
    NOISY_TEXT,
    ORDER_FILES,
    TEXT_FILES,
    AveAnnotations,
    read_ave,
    read_noisy_names,
)
from .ov_ave_annotations import OV_AVE_FILE, read_ov_ave
from .unav_annotations import UNAV_FILE, UnavAnnotations, read_unav

SPLIT_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
EVENT_FILES = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}
LABEL_FILE = "labels.txt"
_OTHER_FORMS = (AVE_FILE, UNAV_FILE, OV_AVE_FILE)
MAX_LABEL_CELLS = 1 << 30  # clips x seconds x classes of a split, a byte each and modality
CLIP_COLUMNS = ("filename", "event_labels")
EVENT_COLUMNS = ("filename", "onset", "offset", "event_labels")


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
    """Content of a folder of annotations."""

    folder: Path
    labels: tuple[str, ...]  # C class names
    splits: dict[str, DatasetSplit]  # split name -> clips
    events: dict[str, tuple[EventRow, ...]]  # modality -> rows of all splits
    notes: tuple[str, ...] = field(default=())  # irregularities that are not errors, one line for each kind
    notices: tuple[str, ...] = field(default=())  # files in encodings that are not Unicode, and those not read
    # "avvp": classes heard, and classes seen. "avel": in each clip one event that is heard and seen, also of train.
    task: Literal["avvp", "avel"] = "avvp"
    videos: Mapping[str, str] = field(default_factory=dict)  # `<id>.2`, a further clip of a video -> `<id>`
    seconds: Mapping[str, int] = field(default_factory=dict)  # clip -> duration, rounded up, where it is annotated
    # Clip -> onset, offset and class of its events, where they are annotated more finely than in seconds.
    spans: Mapping[str, Sequence[tuple[float, float, int]]] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()  # clips whose class no training clip has
    table: Path | None = None  # file that lists the clips of all splits, where they have no files of their own

    def split(self, name: str) -> DatasetSplit:
        """Return a split. Raises DatasetError if there is none of that name."""
        if name not in self.splits:
            if self.table is not None:
                raise DatasetError(f"{escape(self.table)}: lists no clip of the {name} split")
            files = " or ".join(escape(self.folder / file) for file in _split_files(self.task, name))
            raise DatasetError(f"{files}: no such file, so there is no {name} split")
        return self.splits[name]

    @cached_property
    def segments(self) -> int:
        """Last annotated second of the clips in the splits, at least 1; 10 for LLP."""
        filenames = {name for split in self.splits.values() for name in split.filenames}
        ends = (row.offset for rows in self.events.values() for row in rows if row.filename in filenames)
        return max([1, *ends])

    def modality_labels(self, split: DatasetSplit, modality: str, segments: int) -> NDArray[np.bool_]:
        """Convert the events of one modality to labels per second.

        Args:
            split: N clips; those without events are all False.
            modality: "audio" or "visual".
            segments: T; seconds past T are cut.

        Returns:
            (N, T, C), whether the class is active in the second.

        Raises:
            DatasetError: the folder has no event file of the modality, or the table is larger than `MAX_LABEL_CELLS`.

        Source:
            The published scorer, which ignores rows whose onset is not before their offset, and repeated rows.
        """
        if modality not in self.events:
            path = escape(self.folder / EVENT_FILES[modality])
            raise DatasetError(f"{path}: no such file, so there are no {modality} events to compare with")
        active = empty_labels(len(split), segments, len(self.labels))
        indices = {name: index for index, name in enumerate(split.filenames)}
        for row in self.events[modality]:
            if row.filename in indices:
                active[indices[row.filename], max(row.onset, 0) : max(row.offset, 0), row.label] = True
        return active

    def segment_labels(self, split: DatasetSplit, segments: int) -> SegmentLabels:
        """Return (N, T, C) labels of both modalities, see `modality_labels`."""
        return SegmentLabels(
            self.modality_labels(split, "audio", segments), self.modality_labels(split, "visual", segments)
        )


def empty_labels(clips: int, segments: int, classes: int) -> NDArray[np.bool_]:
    """Make a table of labels per second in which no class is active.

    Args:
        clips: N.
        segments: T.
        classes: C.

    Returns:
        (N, T, C), all False.

    Raises:
        DatasetError: it would have more than `MAX_LABEL_CELLS` cells.
    """
    if clips * segments * classes > MAX_LABEL_CELLS:
        size = f"{clips} clips of up to {segments} s and {classes} classes"
        raise DatasetError(f"labels per second of {size} are more than {MAX_LABEL_CELLS:,}; use shorter or fewer clips")
    return np.zeros((clips, segments, classes), bool)


def read_annotations(folder: Path, *, labels: Sequence[str] = LLP_LABELS) -> Annotations:
    """Read the annotations of a data set.

    Args:
        folder: in LLP's form with at least one file of a split, or in AVE's with `AVE_FILE`; the others may be absent.
            Or in UnAV-100's form, with `UNAV_FILE`, or that file under any name; or in OV-AVEBench's, `OV_AVE_FILE`.
        labels: class names where the folder is in LLP's form and has no `LABEL_FILE`.

    Returns:
        The annotations. Irregularities that the published scorer tolerates are in their `notes`.

    Raises:
        DatasetError: the folder has no split, or invalid lines; the message lists all of them.
        SetupError: the files are HDF5 files, and h5py is not installed.
    """
    if folder.is_file() and folder.suffix.lower() == ".json":
        return _convert_unav(folder, folder, read_unav(folder))
    if not folder.is_dir():
        raise DatasetError(f"{escape(folder)}: no such folder of annotations")
    for file in _OTHER_FORMS:
        forms = (other for other in (*_OTHER_FORMS, *SPLIT_FILES.values()) if other != file)
        others = [other for other in forms if (folder / other).exists()]
        if (folder / file).exists() and others:
            raise DatasetError(f"{escape(folder)}: holds {file} and {others[0]}: two data sets; move one of them")
    if (folder / AVE_FILE).exists():
        return _convert_ave(folder, read_ave(folder))
    if (folder / UNAV_FILE).exists():
        return _convert_unav(folder, folder / UNAV_FILE, read_unav(folder / UNAV_FILE))
    if (folder / OV_AVE_FILE).exists():
        return _convert_unav(folder, folder / OV_AVE_FILE, read_ov_ave(folder))
    notices: list[str] = []
    labels = read_labels(folder / LABEL_FILE, notices) if (folder / LABEL_FILE).exists() else tuple(labels)
    problems: list[str] = []
    splits = {
        name: _read_split(name, _read_rows(folder / file, CLIP_COLUMNS, problems, notices), labels, problems)
        for name, file in SPLIT_FILES.items()
        if (folder / file).exists()
    }
    events = {
        modality: _read_events(_read_rows(folder / file, EVENT_COLUMNS, problems, notices), labels, problems)
        for modality, file in EVENT_FILES.items()
        if (folder / file).exists()
    }
    if not splits and not problems:
        problems.append(f"{escape(folder)}: holds none of {', '.join([*SPLIT_FILES.values(), *_OTHER_FORMS])}")
    if (folder / NOISY_TEXT).exists():
        splits |= _noisy_split(read_noisy_names(folder / NOISY_TEXT, problems, notices), len(labels))
    problems += _shared_clips(splits)
    if problems:
        raise DatasetError.listing(f"the annotations in {escape(folder)} cannot be used", problems)
    return Annotations(folder, labels, splits, events, tuple(_irregularities(splits, events)), tuple(notices))


def _split_files(task: str, name: str) -> list[str]:
    """Return the names of the files in which a split may be."""
    if name == NOISY:
        return [NOISY_TEXT] if task == "avvp" else [NOISY_TEXT, NOISY_LABELS]
    return [SPLIT_FILES[name]] if task == "avvp" else [TEXT_FILES[name], ORDER_FILES[name]]


def _noisy_split(names: tuple[str, ...], classes: int) -> dict[str, DatasetSplit]:
    """Return the split of the clips without an event, empty where there are none."""
    return {NOISY: DatasetSplit(NOISY, names, empty_labels(len(names), 1, classes)[:, 0])} if names else {}


def _convert_ave(folder: Path, ave: AveAnnotations) -> Annotations:
    """Return annotations in which the one event of each clip is heard and seen."""
    splits: dict[str, DatasetSplit] = {}
    for name, order in ave.splits.items():
        clips = [ave.clips[index] for index in order]
        present = empty_labels(len(clips), 1, len(ave.labels))[:, 0]
        for index, clip in enumerate(clips):
            present[index, clip.label] = clip.start < clip.end
        splits[name] = DatasetSplit(name, tuple(clip.filename for clip in clips), present)
    splits |= _noisy_split(ave.noisy, len(ave.labels))
    events = tuple(
        EventRow(clip.filename, clip.start, clip.end, clip.label) for clip in ave.clips if clip.start < clip.end
    )
    both = dict.fromkeys(EVENT_FILES, events)
    videos = {clip.filename: clip.video for clip in ave.clips if clip.filename != clip.video}
    return Annotations(folder, ave.labels, splits, both, ave.notes, ave.notices, "avel", videos)


def _convert_unav(folder: Path, table: Path, unav: UnavAnnotations) -> Annotations:
    """Return annotations in which every event is heard and seen, also those of train."""
    splits: dict[str, DatasetSplit] = {}
    for name in SPLIT_FILES:
        clips = {clip: video for clip, video in unav.videos.items() if video.split == name}
        present = empty_labels(len(clips), 1, len(unav.labels))[:, 0]
        for row, video in zip(present, clips.values(), strict=True):
            row[[event.label for event in video.events]] = True
        if clips:
            splits[name] = DatasetSplit(name, tuple(clips), present)
    events = tuple(EventRow(clip, *event) for clip, video in unav.videos.items() for event in video.events)
    seconds = {clip: video.seconds for clip, video in unav.videos.items()}
    spans = {clip: video.spans for clip, video in unav.videos.items() if video.spans}
    both = dict.fromkeys(EVENT_FILES, events)
    return Annotations(
        folder, unav.labels, splits, both, task=unav.task, seconds=seconds, spans=spans, unseen=unav.unseen, table=table
    )


def read_labels(path: Path, notices: list[str] | None = None) -> tuple[str, ...]:
    """Read class names, one per line; empty lines are skipped.

    Args:
        path: a text file.
        notices: a line is appended if the file is in an encoding that is not Unicode.

    Returns:
        C class names.

    Raises:
        DatasetError: the file is unreadable or empty, or has repeated or unusable names.
    """
    try:
        text = read_text(path, legacy=True)
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {error}") from error
    if notices is not None:
        notices += [f"{path.name}: {notice}" for notice in text.notices]
    names = [line.strip() for line in text.lines() if line.strip()]
    problems = [f"contains {name} twice" for name, count in Counter(names).items() if count > 1]
    faults = {name: label_name_error(name) for name in names}
    problems += [f"has a class {shorten(name)}: {fault}" for name, fault in faults.items() if fault]
    if len(names) > MAX_LABELS:
        problems.append(f"has {len(names)} classes, more than {MAX_LABELS:,}")
    if problems or not names:
        raise DatasetError(f"{escape(path)}: the label list {escape(problems[0]) if problems else 'is empty'}")
    return tuple(names)


@dataclass(frozen=True)
class _Rows:
    """Rows of one file: number of the line and values of the columns."""

    file: str
    rows: tuple[tuple[int, list[str]], ...]


def _read_split(name: str, table: _Rows, labels: Sequence[str], problems: list[str]) -> DatasetSplit:
    find = class_finder(labels)
    clips: dict[str, list[int]] = {}
    for line, (filename, names) in table.rows:
        if len(problems) > MAX_PROBLEMS:
            break
        if filename in clips:
            problems.append(f"{table.file}:{line}: {escape(filename)} is listed twice")
            continue
        clips[filename] = []
        for label in split_labels(names):
            try:
                clips[filename].append(find(label))
            except ValueError as error:
                problems.append(f"{table.file}:{line}: {error}")
    if not clips and not any(problem.startswith(table.file) for problem in problems):
        problems.append(f"{table.file}: the {name} split is empty")
    present = np.zeros((len(clips), len(labels)), bool)
    for index, classes in enumerate(clips.values()):
        present[index, classes] = True
    return DatasetSplit(name, tuple(clips), present)


def _read_events(table: _Rows, labels: Sequence[str], problems: list[str]) -> tuple[EventRow, ...]:
    find, numbers = class_finder(labels), NumberReader(decimal_comma=True)
    rows: list[EventRow] = []
    for line, (filename, onset, offset, label) in table.rows:
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            rows.append(EventRow(filename, whole_seconds(onset, numbers), whole_seconds(offset, numbers), find(label)))
        except ValueError as error:
            problems.append(f"{table.file}:{line}: {error}")
    return tuple(rows)


def read_clip_names(content: bytes, name: str) -> list[str]:
    """Read the clip names of a split's file.

    Args:
        content: of the file.
        name: of the file, for error messages.

    Returns:
        Clip names in the order of the file.

    Raises:
        DatasetError: the file has invalid lines.
    """
    problems: list[str] = []
    try:
        rows = read_table(decode_text(content, legacy=True).text, name, CLIP_COLUMNS, problems)
    except ValueError as error:
        raise DatasetError(f"{escape(name)}: {error}") from error
    if problems:
        raise DatasetError.listing(f"{escape(name)} cannot be used", problems)
    return [filename for _, (filename, _) in rows]


def _read_rows(path: Path, columns: Sequence[str], problems: list[str], notices: list[str]) -> _Rows:
    try:
        text = read_text(path, legacy=True)
    except ValueError as error:
        problems.append(f"{path.name}: cannot be read: {error}")
        return _Rows(path.name, ())
    notices += [f"{path.name}: {notice}" for notice in text.notices]
    try:
        return _Rows(path.name, tuple(read_table(text.text, path.name, columns, problems)))
    except ValueError as error:
        problems.append(f"{path.name}: {error}")
        return _Rows(path.name, ())


def _shared_clips(splits: dict[str, DatasetSplit]) -> list[str]:
    """Return a line for every clip that is in two splits."""
    first: dict[str, str] = {}
    return [
        f"{escape(filename)} is in {first[filename]} and in {split.name}; a clip must be in one split only"
        for split in splits.values()
        for filename in split.filenames
        if first.setdefault(filename, split.name) != split.name
    ]


def _irregularities(splits: dict[str, DatasetSplit], events: dict[str, tuple[EventRow, ...]]) -> Iterator[str]:
    filenames = {name for split in splits.values() for name in split.filenames}
    for modality, rows in events.items():
        file = EVENT_FILES[modality]
        if unlisted := {row.filename for row in rows} - filenames:
            yield f"{file}: {count_of(unlisted, 'clip')} in no split: not used"
        if backward := [row for row in rows if row.onset >= row.offset]:
            yield f"{file}: {count_of((row.filename for row in backward), 'row')} with onset >= offset: empty"
        if repeated := [row for row, count in Counter(rows).items() for _ in range(count - 1)]:
            yield f"{file}: {count_of((row.filename for row in repeated), 'repeated row')}: counted once"
        for name in ("val", "test"):
            if name in splits and (eventless := set(splits[name].filenames) - {row.filename for row in rows}):
                yield f"{file}: {count_of(eventless, f'{name} clip')} without rows: no {modality} events"
