"""Score files in the storage of a run: <teacher>/scores/<clip>.npy, (T, C) float32 logits."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.storage import Storage
from ..errors import SetupError
from ..text import escape
from .threshold_scores import TEACHERS


def read_scores(storage: Storage, name: str) -> dict[str, NDArray[np.float32]]:
    """Read the scores of a clip.

    Args:
        storage: of the run.
        name: of the clip.

    Returns:
        Logits by modality, (T, C).

    Raises:
        SetupError: a file is missing or damaged.
    """
    return {modality: _load(storage, f"{teacher}/scores/{name}.npy") for modality, teacher in TEACHERS.items()}


def save_table(table: NDArray[Any], path: Path) -> None:
    """Save an array as .npy. `np.save` on a path would append a suffix to temporary names."""
    with path.open("wb") as file:
        np.save(file, table)


def _load(storage: Storage, name: str) -> NDArray[np.float32]:
    try:
        return np.load(io.BytesIO(storage.read(name) or b""), allow_pickle=False)
    except (ValueError, EOFError) as error:
        path = escape(f"{storage.where}/{name}")
        raise SetupError(f"{path}: missing or damaged; run again on its video with --verify to recompute it") from error
