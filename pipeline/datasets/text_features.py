"""Text features of classes for temporal teachers: a file that holds CLAP's and CLIP's of each class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...models.config import MAX_LABELS, MAX_WIDTH
from ...weights.errors import WeightsError
from ...weights.messages import first_line, shown
from ...weights.tensor_files import check_safetensors
from ..errors import SetupError
from ..files import is_file, write_atomic
from ..text import escape
from ..text_files import parse_json

TEXT_FILE = "text_features.safetensors"  # in the folder of a run
_LABELS_KEY = "avvp_labels"
_MODALITIES = ("audio", "visual")


def write_text_features(path: Path, labels: Sequence[str], audio: Tensor, visual: Tensor) -> None:
    """Write the text features of classes.

    Args:
        path: of the file, which is replaced.
        labels: C class names.
        audio: (C, A) float, CLAP's.
        visual: (C, V) float, CLIP's.

    Raises:
        OutputError: the file cannot be written.
    """
    tables = {
        name: table.detach().cpu().float().contiguous()
        for name, table in zip(_MODALITIES, (audio, visual), strict=True)
    }
    write_atomic(path, save(tables, metadata={_LABELS_KEY: json.dumps(list(labels))}))


def read_text_features(path: Path, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Read the text features of classes.

    Args:
        path: a file of `write_text_features`.
        labels: C class names, in the order of the rows to return; the file may have others.

    Returns:
        CLAP's and CLIP's features, (C, A) and (C, V) float32.

    Raises:
        SetupError: the file cannot be read, holds something else, or lacks a class.
    """
    try:
        if not is_file(path):  # a pipe would be waited for
            raise ValueError("no such file")
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            names = parse_json((file.metadata() or {}).get(_LABELS_KEY, "null"))
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("its metadata has no names of classes; expected text features of avvp train-teacher")
            if sorted(file.keys()) != list(_MODALITIES) or len(set(names)) != len(names) or len(names) > MAX_LABELS:
                raise ValueError(f"expected the tables {', '.join(_MODALITIES)} and different classes")
            tables = [_read_table(file.get_tensor(name), name, len(names)) for name in _MODALITIES]
    except (SafetensorError, OSError, WeightsError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not readable text features: {escape(first_line(error))}") from error
    if missing := [label for label in labels if label not in names]:
        raise SetupError(f"{escape(path)}: has no text features of the class {shown(missing[0])}")
    rows = [names.index(label) for label in labels]
    return tables[0][rows], tables[1][rows]


def _read_table(table: Tensor, name: str, classes: int) -> Tensor:
    if table.dtype is not torch.float32 or table.ndim != 2 or len(table) != classes or table.shape[1] > MAX_WIDTH:
        raise ValueError(f"{name} is {tuple(table.shape)} of {table.dtype}, expected float32, a row for each class")
    if not bool(table.isfinite().all()):
        raise ValueError(f"{name} has values that are not finite")
    return table
