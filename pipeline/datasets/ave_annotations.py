"""Read annotations in AVE's form: clips with one event each, which is heard and seen.

Annotations.txt                         class&video&quality&start&end in whole seconds, with or without a header
trainSet.txt, valSet.txt, testSet.txt   rows of Annotations.txt
train_order.h5, ...                     for a split without such a text: numbers of its rows, in the dataset `order`
noisySet.txt                            names of clips without an event, one a line, for weak training
labels_noisy.h5                         the published list of these clips; it has no names, they are noisy_000, ...
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...models.config import MAX_LABELS
from ..errors import DatasetError
from ..features.h5_files import H5Rows, has_h5py, read_indices
from ..tables import NumberReader, split_lines
from ..text import count_of, escape, shorten
from ..text_files import read_text
from .annotation_cells import MAX_PROBLEMS, label_name_error, usable_clip_name, whole_seconds
from .ave_rows import split_ave_row

AVE_FILE = "Annotations.txt"
TEXT_FILES = {"train": "trainSet.txt", "val": "valSet.txt", "test": "testSet.txt"}
ORDER_FILES = {"train": "train_order.h5", "val": "val_order.h5", "test": "test_order.h5"}
NOISY = "noisy"  # name of the split of clips without an event
NOISY_TEXT = "noisySet.txt"
NOISY_LABELS = "labels_noisy.h5"
MAX_NOISY = 100_000  # noisy clips of a published list
_ORDER = "order"  # names of the datasets in the published files
_ARRAY = "avadataset"


class AveClip(NamedTuple):
    """A row of Annotations.txt.

    Attributes:
        filename: the video, for its second row with ".2" behind it, and so on.
        video: id of the video; two rows of a video are two clips.
        label: index of the class.
        start: first whole second of the event.
        end: second after its last; a clip whose end is its start has no event.
    """

    filename: str
    video: str
    label: int
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class AveAnnotations:
    """Content of a folder in AVE's form.

    Attributes:
        labels: C classes, in the order of their first rows.
        clips: N clips, in the order of the rows, which is that of the published features.
        splits: "train", "val", "test" -> numbers of clips.
        noisy: names of clips without an event.
        notes: irregularities that are not errors, one line for each kind.
        notices: on the files: their encodings, and those that are not read.
    """

    labels: tuple[str, ...]
    clips: tuple[AveClip, ...]
    splits: Mapping[str, tuple[int, ...]]
    noisy: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    notices: tuple[str, ...] = field(default=())


def read_ave(folder: Path) -> AveAnnotations:
    """Read a folder in AVE's form.

    Args:
        folder: with `AVE_FILE` and a list of at least one split.

    Returns:
        The annotations.

    Raises:
        DatasetError: a file cannot be used, or there is no split; the message lists all faults.
        SetupError: h5py is needed, and not installed.
    """
    problems: list[str] = []
    notices: list[str] = []
    labels: dict[str, int] = {}
    clips = _read_clips(folder / AVE_FILE, labels, problems, notices)
    if problems:
        raise _unusable(folder, problems)
    splits: dict[str, tuple[int, ...]] = {}
    for name, file in TEXT_FILES.items():
        text, order = folder / file, folder / ORDER_FILES[name]
        if text.exists():
            splits[name] = _read_rows(text, clips, list(labels), problems, notices)
            notices += [f"{order.name}: not read, because {text.name} says the same"] if order.exists() else []
        elif order.exists():
            splits[name] = tuple(read_indices(order, _ORDER, most=len(clips)).tolist())
            problems += _order_problems(order.name, splits[name], len(clips))
        if name in splits and not splits[name]:
            problems.append(f"the {name} split is empty")
    problems += _shared_rows(splits)
    noisy = _read_noisy(folder, len(labels), problems, notices)
    problems += [
        f"{escape(name)} is a clip of {AVE_FILE} and a noisy clip"
        for name in sorted({clip.filename for clip in clips}.intersection(noisy))
    ]
    if not splits and not problems:
        names = ", ".join([*TEXT_FILES.values(), *ORDER_FILES.values()])
        problems.append(f"no list says which rows of {AVE_FILE} are in which split: {names}")
    if problems:
        raise _unusable(folder, problems)
    notes = tuple(_irregularities(clips, splits))
    return AveAnnotations(tuple(labels), clips, splits, noisy, notes, tuple(notices))


def _unusable(folder: Path, problems: Sequence[str]) -> DatasetError:
    return DatasetError.listing(f"the annotations in {escape(folder)} cannot be used", problems)


def _read_clips(path: Path, labels: dict[str, int], problems: list[str], notices: list[str]) -> tuple[AveClip, ...]:
    """Read the rows of Annotations.txt; classes are added to `labels`."""
    clips: list[AveClip] = []
    rows_of_video: Counter[str] = Counter()
    numbers = NumberReader(decimal_comma=False)
    for line, text in _lines(path, problems, notices):
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            label, video, start, end = _read_row(text, numbers)
        except ValueError as error:
            problems.append(f"{path.name}:{line}: {error}")
            continue
        if label not in labels:
            if fault := label_name_error(label, commas=True):
                problems.append(f"{path.name}:{line}: the class {shorten(label)} cannot be used: {fault}")
                continue
            labels[label] = len(labels)
        rows_of_video[video] += 1
        filename = video if rows_of_video[video] == 1 else f"{video}.{rows_of_video[video]}"
        clips.append(AveClip(filename, video, labels[label], start, end))
    if len(labels) > MAX_LABELS:
        problems.append(f"{path.name}: has {len(labels):,} classes, more than {MAX_LABELS:,}")
    if not clips and not problems:
        problems.append(f"{path.name}: has no rows")
    counts = Counter(clip.filename for clip in clips)
    problems += [f"{path.name}: {escape(name)} is the name of two clips" for name, count in counts.items() if count > 1]
    return tuple(clips)


def _read_row(text: str, numbers: NumberReader) -> tuple[str, str, int, int]:
    """Return class, video, start and end of a row. Raises ValueError, whose message does not name the file."""
    row = split_ave_row(text)
    if row is None:
        raise ValueError(f"expected class&video&quality&start&end, not {shorten(text)}")
    if not usable_clip_name(row.video):
        raise ValueError(f"{shorten(row.video)} is not the id of a video")
    start, end = whole_seconds(row.start, numbers), whole_seconds(row.end, numbers)
    if not 0 <= start <= end:
        raise ValueError(f"[{start}, {end}) is not an interval of seconds from 0 on")
    return row.label, row.video, start, end


def _lines(path: Path, problems: list[str], notices: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not empty and no header."""
    try:
        text = read_text(path, legacy=True)
        lines = split_lines(text.text)
    except ValueError as error:
        problems.append(f"{path.name}: cannot be read: {error}")
        return
    notices += [f"{path.name}: {notice}" for notice in text.notices]
    first = True
    for number, line in enumerate(lines, 1):
        row = split_ave_row(line)
        if line.strip() and not (first and row is not None and row.is_header):
            yield number, line.strip()
        first = first and not line.strip()


def _read_rows(
    path: Path, clips: Sequence[AveClip], labels: Sequence[str], problems: list[str], notices: list[str]
) -> tuple[int, ...]:
    """Return the numbers of the clips whose rows a split's text lists."""
    indices: defaultdict[tuple[str, str, int, int], list[int]] = defaultdict(list)
    for index in reversed(range(len(clips))):
        clip = clips[index]
        indices[labels[clip.label], clip.video, clip.start, clip.end].append(index)
    known = {row: len(found) for row, found in indices.items()}
    chosen: list[int] = []
    numbers = NumberReader(decimal_comma=False)
    for line, text in _lines(path, problems, notices):
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            row = _read_row(text, numbers)
            if row not in known:
                raise ValueError(f"{shorten(text)} is no row of {AVE_FILE}")
            if not indices[row]:
                raise ValueError(f"{shorten(text)} is listed more often than in {AVE_FILE}")
        except ValueError as error:
            problems.append(f"{path.name}:{line}: {error}")
            continue
        chosen.append(indices[row].pop())
    return tuple(chosen)


def _order_problems(file: str, order: Sequence[int], rows: int) -> Iterator[str]:
    """Find faults of a list of numbers of rows."""
    if outside := sorted({index for index in order if not 0 <= index < rows}):
        found = ", ".join(map(str, outside[:3])) + (", ..." if len(outside) > 3 else "")
        yield f"{file}: is of other annotations: {AVE_FILE} has the rows 0 to {rows - 1}, and not {found}"
    if twice := [index for index, count in Counter(order).items() if count > 1]:
        yield f"{file}: lists {count_of(map(str, twice), 'row')} twice"


def _shared_rows(splits: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Find rows that are in two splits."""
    for name, other in _pairs(splits):
        if shared := set(splits[name]).intersection(splits[other]):
            yield f"{count_of(map(str, shared), 'row')} of {AVE_FILE} in {name} and in {other}; expected in one of them"


def _pairs(splits: Iterable[str]) -> Iterator[tuple[str, str]]:
    names = list(splits)
    return ((name, other) for place, name in enumerate(names) for other in names[place + 1 :])


def read_noisy_names(path: Path, problems: list[str], notices: list[str]) -> tuple[str, ...]:
    """Read the names of clips without an event, one a line.

    Args:
        path: `NOISY_TEXT` of a folder.
        problems: a line is appended for each fault.
        notices: a line is appended if the file is in an encoding that is not Unicode.

    Returns:
        The names.
    """
    names = [line for _, line in _lines(path, problems, notices)]
    problems += [f"{path.name}: {shorten(name)} is not a name" for name in names if not usable_clip_name(name)]
    problems += [f"{path.name}: lists {escape(name)} twice" for name, count in Counter(names).items() if count > 1]
    return tuple(names)


def _read_noisy(folder: Path, classes: int, problems: list[str], notices: list[str]) -> tuple[str, ...]:
    """Return the names of the noisy clips; none where there is no list of them."""
    text, labels = folder / NOISY_TEXT, folder / NOISY_LABELS
    if text.exists():
        notices += [f"{labels.name}: not read, because there is {text.name}"] if labels.exists() else []
        return read_noisy_names(text, problems, notices)
    if not labels.exists():
        return ()
    if not has_h5py():
        notices.append(f"{labels.name}: not read, so there are no noisy clips; it needs: pip install 'avvp[avel]'")
        return ()
    with H5Rows(labels, _ARRAY, "features") as rows:
        if len(rows.shape) != 2 or rows.shape[1] != classes + 1 or rows.shape[0] > MAX_NOISY:
            problems.append(f"{labels.name}: shape {rows.shape}, expected ({MAX_NOISY:,} or fewer, {classes + 1})")
            return ()
        if not all((block[:, -1] == 1).all() and not block[:, :-1].any() for block in rows.blocks()):
            problems.append(f"{labels.name}: has clips with an event; expected 1 in the last column and 0 elsewhere")
        return tuple(f"noisy_{index:03d}" for index in range(rows.shape[0]))


def _irregularities(clips: Sequence[AveClip], splits: Mapping[str, Sequence[int]]) -> Iterator[str]:
    counts = Counter(clip.video for clip in clips)
    if several := [video for video, count in counts.items() if count > 1]:
        yield f"{AVE_FILE}: {count_of(several, 'video')} with several rows: each is a clip, the second is called ID.2"
    if empty := [clip.filename for clip in clips if clip.start == clip.end]:
        yield f"{AVE_FILE}: {count_of(empty, 'clip')} without an event, from a second to the same: background"
    if unused := len(clips) - sum(map(len, splits.values())):
        yield f"{AVE_FILE}: {unused:,} of {len(clips):,} rows are in no split: not used"
    videos = {name: {clips[index].video for index in order} for name, order in splits.items()}
    for name, other in _pairs(splits):
        if shared := videos[name] & videos[other]:
            yield f"{count_of(shared, 'video')} in {name} and, with another row, in {other}: not independent"
