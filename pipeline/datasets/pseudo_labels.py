"""Segment-level pseudo labels, predicted for the training clips by other models.

The files are those of VALOR: `CLAP/segment_pseudo_labels/<id>.npy` for audio, `CLIP/segment_pseudo_labels/<id>.npy` for
visual, (T, C) of 0 and 1. VALOR's were made with the video-level labels, including those of val and test, so they are
for training only.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...weights.safe_paths import inside
from ..errors import OutputError
from ..files import make_folder, write_atomic
from ..text import escape
from ..text_files import read_json
from .annotations import empty_labels
from .clip_tables import fill_table

RECORD = "pseudo_labels.json"  # written by `avvp pseudo-label`
FOLDERS = {"audio": Path("CLAP/segment_pseudo_labels"), "visual": Path("CLIP/segment_pseudo_labels")}


def write_pseudo_labels(root: Path, modality: str, clip_id: str, labels: NDArray[np.bool_]) -> None:
    """Write the labels of one clip.

    Args:
        root: folder of the pseudo labels.
        modality: a key of `FOLDERS`.
        clip_id: name of the file.
        labels: (T, C), stored as uint8.

    Raises:
        OutputError: the file cannot be written.
    """
    content = io.BytesIO()
    np.save(content, labels.astype(np.uint8))
    folder = root / FOLDERS[modality]
    make_folder(folder)
    try:
        path = inside(folder, f"{clip_id}.npy")
    except ValueError as error:
        raise OutputError(f"{escape(folder)}: {escape(error)}") from error
    write_atomic(path, content.getvalue())


def check_record(root: Path, labels: Sequence[str]) -> list[str]:
    """Check the record that `avvp pseudo-label` writes beside its labels.

    Args:
        root: folder of the pseudo labels; without a record there are no problems.
        labels: C class names that the labels should have.

    Returns:
        A line if the run did not finish or the classes or their order differ, else nothing.
    """
    path = root / RECORD
    if not path.exists():
        return []
    try:
        record = read_json(path)
        unfinished = record.get("unfinished", False)
        recorded = [] if unfinished else list(record["prompts"]["labels"])
        if not all(isinstance(label, str) for label in recorded):
            raise TypeError("a class is not a name")
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{escape(path)}: not a readable record of pseudo labels"]
    if unfinished:
        return [f"{escape(path)}: the run that made the labels did not finish; repeat its avvp pseudo-label command"]
    if recorded != list(labels):
        others = [label for label in (*recorded, *labels) if label not in labels or label not in recorded]
        difference = f"other classes ({escape(others[0])} is not in both)" if others else "another order of classes"
        return [f"{escape(path)}: the labels have {difference} than the annotations"]
    return []


def read_pseudo_labels(
    root: Path, modality: str, ids: Sequence[str], lengths: Sequence[int], classes: int
) -> tuple[NDArray[np.bool_], list[str]]:
    """Read the labels of one modality.

    Args:
        root: folder of the pseudo labels.
        modality: a key of `FOLDERS`.
        ids: names of the N clips' files.
        lengths: seconds of each clip.
        classes: C.

    Returns:
        (N, T, C) padded with False to the longest clip, and a line for each file that cannot be used.

    Raises:
        DatasetError: the table would be too large, see `annotations.empty_labels`.
    """
    folder = root / FOLDERS[modality]
    table = empty_labels(len(ids), max(lengths, default=1), classes)
    if not folder.is_dir():
        return table, [f"{escape(folder)}: no such folder of {modality} pseudo labels"]

    def check(values: NDArray[np.generic]) -> str:
        is_usable = values.dtype.kind in "buif" and np.isin(values, (0, 1)).all()
        return "" if is_usable else "other values than 0 and 1"

    return table, fill_table(table, folder, ids, lengths, check)
