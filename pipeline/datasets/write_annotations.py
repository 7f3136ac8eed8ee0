"""Write the annotations of a data set in the tab-separated format of LLP, see `annotations`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..files import write_atomic
from ..segments import runs
from ..tables import format_cells
from ..timeline import SegmentLabels
from .annotations import CLIP_COLUMNS, EVENT_COLUMNS, EVENT_FILES, LABEL_FILE, SPLIT_FILES


def write_annotations(folder: Path, labels: Sequence[str], splits: Mapping[str, Mapping[str, SegmentLabels]]) -> None:
    """Write the files of a data set that `read_annotations` reads: classes of each video, events of val and test.

    Args:
        folder: for the files, which are replaced.
        labels: C class names.
        splits: split name -> clip name -> (T, C) labels.

    Raises:
        OutputError: a file cannot be written.
    """
    if tuple(labels) != LLP_LABELS:
        write_atomic(folder / LABEL_FILE, "".join(f"{label}\n" for label in labels).encode())
    for name, clips in splits.items():
        lines = ["\t".join(CLIP_COLUMNS)]
        for filename, clip in clips.items():
            classes = np.flatnonzero(clip.audio.any(axis=0) | clip.visual.any(axis=0)).tolist()
            lines.append(format_cells(filename, ",".join(labels[int(index)] for index in classes)))
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
    return format_rows(
        (name, start, stop, labels[index])
        for name, table in tables.items()
        for index in map(int, np.flatnonzero(table.any(axis=0)))
        for start, stop in runs(table[:, index])
    )


def format_rows(events: Iterable[tuple[str, int, int, str]]) -> str:
    """Format events as an event table.

    Args:
        events: clip, onset, offset in whole seconds and class, names without tabs and newlines.

    Returns:
        Tab-separated lines, the first with the names of `EVENT_COLUMNS`.
    """
    lines = ["\t".join(EVENT_COLUMNS)]
    lines += [format_cells(name, str(onset), str(offset), label) for name, onset, offset, label in events]
    return "".join(f"{line}\n" for line in lines)
