"""Score files in the storage of a run: <teacher>/scores/<clip>.npy, (T, C) float32 logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.storage import Storage
from ..datasets.pseudo_labels import FOLDERS
from ..errors import SetupError
from ..features.npy_files import parse_array
from ..text import escape
from .threshold_scores import TEACHERS

_ADVICE = "run again on its video with --verify to recompute it"


def read_scores(storage: Storage, classes: int, name: str) -> dict[str, NDArray[np.float32]]:
    """Read the scores of a clip.

    Args:
        storage: of the run.
        classes: C.
        name: of the clip.

    Returns:
        Logits by modality, (T, C).

    Raises:
        SetupError: a file is missing or damaged.
    """
    tables = {modality: _load(storage, f"{teacher}/scores/{name}.npy") for modality, teacher in TEACHERS.items()}
    shapes = {table.shape for table in tables.values()}
    if len(shapes) > 1 or any(len(shape) != 2 or shape[1] != classes or not shape[0] for shape in shapes):
        found = " and ".join(str(table.shape) for table in tables.values())
        where = f"{escape(storage.where)}: the scores of {escape(name)}"
        raise SetupError(f"{where} are {found}, expected (T, {classes}); {_ADVICE}")
    return tables


def read_labels(storage: Storage, modality: str, shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    """Read the labels of a clip.

    Args:
        storage: of the run.
        modality: "audio" or "visual".
        shape: (T, C), of the scores.
        name: of the clip.

    Returns:
        (T, C).

    Raises:
        SetupError: the file is missing or damaged.
    """
    path = f"{FOLDERS[modality].as_posix()}/{name}.npy"
    try:
        table = parse_array(storage.read(path) or b"")
        if table.shape != shape or not np.isin(table, (0, 1)).all():
            raise ValueError("not the labels of a clip")
    except ValueError as error:
        raise SetupError(
            f"{escape(f'{storage.where}/{path}')}: missing or damaged; repeat the command to make the labels again"
        ) from error
    return table.astype(bool)


def save_table(table: NDArray[Any], path: Path) -> None:
    """Save an array as .npy. `np.save` on a path would append a suffix to temporary names."""
    with path.open("wb") as file:
        np.save(file, table)


def _load(storage: Storage, name: str) -> NDArray[np.float32]:
    try:
        table = parse_array(storage.read(name) or b"")
        if table.dtype.kind != "f" or not np.isfinite(table).all():
            raise ValueError("its values are not finite numbers")
    except ValueError as error:
        path = escape(f"{storage.where}/{name}")
        raise SetupError(f"{path}: missing or damaged; {_ADVICE}") from error
    return table.astype(np.float32, copy=False)
