"""Pseudo labels on disk against the annotations of a split: how good they are, before anything is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..datasets.annotations import Annotations
from ..datasets.clips import clip_id
from ..datasets.pseudo_labels import FOLDERS, check_record, read_pseudo_labels
from ..errors import DatasetError
from ..text import escape
from ..timeline import SegmentLabels
from .evaluate import Evaluation, evaluate

_MODALITIES = ("audio", "visual")


def evaluate_pseudo_labels(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> Evaluation:
    """Score ``CLAP/`` and ``CLIP/segment_pseudo_labels/<id>.npy`` as if they were a parser's decisions.

    Raises DatasetError listing clips without labels (unless `allow_missing`: then only those that have both kinds are
    scored, and `notes` says so) and files that cannot be used.
    """
    chosen = annotations.split(split)
    ids = [_find_name(folder, name) for name in chosen.filenames]
    rows = list(range(len(ids)))
    notes = []
    if allow_missing:
        rows = [row for row in rows if all((folder / FOLDERS[m] / f"{ids[row]}.npy").is_file() for m in _MODALITIES)]
        if not rows:
            raise DatasetError(f"{escape(folder)}: no clip of the {split} split has pseudo labels of both kinds")
        if len(rows) < len(ids):
            notes.append(f"{len(rows)} of {len(ids)} clips: the others have no pseudo labels")
    length, classes = annotations.segments, len(annotations.labels)
    tables, problems = {}, check_record(folder, annotations.labels)
    for modality in _MODALITIES:
        named = [ids[row] for row in rows]
        tables[modality], wrong = read_pseudo_labels(folder, modality, named, [length] * len(rows), classes)
        problems += wrong
    if problems:
        raise DatasetError.listing(f"the pseudo labels in {escape(folder)} cannot be scored", problems)
    return evaluate(
        SegmentLabels(**tables),
        annotations.segment_labels(chosen, length).select(np.array(rows)),
        split=split,
        source=escape(folder.resolve().name),
        labels=annotations.labels,
        notes=notes,
    )


def _find_name(folder: Path, filename: str) -> str:
    """Files are named like the clip, or by its id."""
    named = any((folder / place / f"{filename}.npy").is_file() for place in FOLDERS.values())
    return filename if named else clip_id(filename)
