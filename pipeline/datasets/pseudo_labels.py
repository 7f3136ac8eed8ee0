"""Pseudo labels: what other models heard and saw in each second of the training clips.

As VALOR publishes them: ``CLAP/segment_pseudo_labels/<id>.npy`` for audio, ``CLIP/segment_pseudo_labels/<id>.npy`` for
visual, (T, C) of 0 and 1. They were made with the labels of each video, those of val and test included: they are for
training alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..features.npy_folders import READ_THREADS, read_array
from ..files import make_folder, write_atomic
from ..text import escape

RECORD = "pseudo_labels.json"  # of `avvp pseudo-label`
FOLDERS = {"audio": Path("CLAP/segment_pseudo_labels"), "visual": Path("CLIP/segment_pseudo_labels")}


def write_pseudo_labels(root: Path, modality: str, clip_id: str, labels: NDArray[np.bool_]) -> None:
    """The labels (T, C) of one clip, as uint8. Raises OutputError."""
    content = io.BytesIO()
    np.save(content, labels.astype(np.uint8))
    folder = root / FOLDERS[modality]
    make_folder(folder)
    write_atomic(folder / f"{clip_id}.npy", content.getvalue())


def check_record(root: Path, labels: Sequence[str]) -> list[str]:
    """What the record beside pseudo labels, where there is one, says against using them for classes in this order."""
    path = root / RECORD
    try:
        record = json.loads(path.read_bytes())
        unfinished = record.get("unfinished", False)
        made = [] if unfinished else list(record["prompts"]["labels"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{escape(path)}: is no record that can be read"]
    if unfinished:
        return [f"{escape(path)}: the run that made the labels was cut short; the same avvp pseudo-label finishes it"]
    if made != list(labels):
        others = [label for label in (*made, *labels) if label not in labels or label not in made]
        what = f"other classes ({escape(others[0])} is not in both)" if others else "the same classes in another order"
        return [f"{escape(path)}: the labels were made for {what} than the annotations have"]
    return []


def read_pseudo_labels(
    root: Path, modality: str, ids: Sequence[str], lengths: Sequence[int], classes: int
) -> tuple[NDArray[np.bool_], list[str]]:
    """(N, T, C) padded with False to the longest clip, and what is wrong with the files that cannot be used."""
    folder = root / FOLDERS[modality]
    table = np.zeros((len(ids), max(lengths, default=1), classes), bool)
    if not folder.is_dir():
        return table, [f"{escape(folder)}: no such folder of {modality} pseudo labels"]

    def read(clip_id: str, length: int) -> NDArray[np.bool_] | str:
        path = folder / f"{clip_id}.npy"
        try:
            values = read_array(path)
        except DatasetError as error:
            return str(error)
        if values.shape != (length, classes):
            return f"{escape(path)}: shape {values.shape}, expected ({length}, {classes})"
        if values.dtype.kind not in "buif" or not np.isin(values, (0, 1)).all():
            return f"{escape(path)}: holds other values than 0 and 1"
        return values.astype(bool)

    problems: list[str] = []
    with ThreadPoolExecutor(READ_THREADS) as readers:
        for index, found in enumerate(readers.map(read, ids, lengths)):
            if isinstance(found, str):
                problems.append(found)
            else:
                table[index, : len(found)] = found
    return table, problems
