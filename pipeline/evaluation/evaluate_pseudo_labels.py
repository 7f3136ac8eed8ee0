"""Evaluate pseudo labels on disk against the annotations of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id
from ..datasets.pseudo_labels import FOLDERS, check_record, read_pseudo_labels
from ..errors import DatasetError
from ..features.npy_folders import list_clips
from ..text import escape
from ..timeline import SegmentLabels
from .evaluate import Evaluation, evaluate

_MODALITIES = ("audio", "visual")


def evaluate_pseudo_labels(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> Evaluation:
    """Score pseudo labels as if they were a parser's decisions.

    Args:
        folder: of the pseudo labels, see `datasets.pseudo_labels`.
        annotations: of the data set.
        split: "val" or "test".
        allow_missing: score only the clips that have labels of both modalities; `notes` states their number.

    Returns:
        The scores.

    Raises:
        DatasetError: files are missing or cannot be used; the message lists all of them.
    """
    clips = annotations.split(split)
    present = [list_clips(folder / FOLDERS[m]) if (folder / FOLDERS[m]).is_dir() else frozenset() for m in _MODALITIES]
    # The name of a clip if a file has it, else its id.
    ids = [name if any(name in names for names in present) else clip_id(name) for name in clips.filenames]
    rows = list(range(len(ids)))
    notes = []
    if allow_missing:
        rows = [row for row in rows if all(ids[row] in names for names in present)]
        if not rows:
            raise DatasetError(f"{escape(folder)}: no clip of the {split} split has pseudo labels of both modalities")
        if len(rows) < len(ids):
            notes.append(f"{len(rows)} of {len(ids)} clips: the others have no pseudo labels")
    length, classes = annotations.segments, len(annotations.labels)
    tables, problems = {}, check_record(folder, annotations.labels)
    for modality in _MODALITIES:
        row_ids = [ids[row] for row in rows]
        tables[modality], file_problems = read_pseudo_labels(folder, modality, row_ids, [length] * len(rows), classes)
        problems += file_problems
    if problems:
        raise DatasetError.listing(f"the pseudo labels in {escape(folder)} cannot be scored", problems)
    return evaluate(
        SegmentLabels(**tables),
        annotations.segment_labels(clips, length).select(np.array(rows)),
        split=split,
        source=escape(folder.resolve().name),
        labels=annotations.labels,
        notes=notes,
    )
