"""Files of stages that do not train: noise ratios, removed labels, and the record of what they were made from.

noise_ratios.toml   share of wrong labels of each class, for the sound and for the picture
removed_labels.csv  tab-separated: clip, modality, classes that the modality does not support
stage.json          fingerprints of what the stage read, and of its file
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....models.denoising import NoiseRatios, RemovedLabels
from ....models.labels import LLP_LABELS
from ....weights.messages import shown
from ....weights.toml import read_toml, toml_string
from ...datasets.clips import SplitDataset
from ...errors import SetupError
from ...files import write_atomic
from ...tables import format_cells, parse_table
from ...text import escape
from ...text_files import read_json, read_text

RATIOS_FILE = "noise_ratios.toml"
REMOVED_FILE = "removed_labels.csv"
RECORD_FILE = "stage.json"
PUBLISHED_RATIOS = "llp"  # name of the ratios that are published for LLP
_PUBLISHED_FILE = Path(__file__).with_name("llp_noise_ratios.toml")
_MODALITIES = ("audio", "visual")
_COLUMNS = ("filename", "modality", "event_labels")
_FORMAT = 1
_UNLIKELY = 0.5  # share of wrong labels that speaks for a bad estimate


def format_ratios(ratios: NoiseRatios, labels: Sequence[str]) -> bytes:
    """Format noise ratios as TOML, with every bit of their values.

    Args:
        ratios: (C,) each.
        labels: C class names.

    Returns:
        The content of the file.
    """
    lines = ["# Share of each class's labels that are wrong for the sound, and for the picture."]
    for modality, table in ratios._asdict().items():
        lines += ["", f"[{modality}]"]
        lines += [f"{toml_string(label)} = {float(value)!r}" for label, value in zip(labels, table, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def read_ratios(name_or_file: str, labels: Sequence[str]) -> NoiseRatios:
    """Read noise ratios.

    Args:
        name_or_file: a file of `format_ratios`; or "llp", those that JoMoLD's authors estimated on LLP.
        labels: C class names of the data.

    Returns:
        The ratios.

    Raises:
        SetupError: the file cannot be read or has other classes; or "llp" for other classes than LLP's.
    """
    if name_or_file == PUBLISHED_RATIOS and tuple(labels) != LLP_LABELS:
        raise SetupError(
            'noise_ratios = "llp" is for the 25 classes of LLP; for others leave it out, and the recipe estimates them'
        )
    path = _PUBLISHED_FILE if name_or_file == PUBLISHED_RATIOS else Path(name_or_file)
    try:
        document = read_toml(path)
        if set(document) != set(_MODALITIES):
            raise ValueError("expected the tables [audio] and [visual]")
        return NoiseRatios(*(_ratios_of(document[modality], modality, labels) for modality in _MODALITIES))
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not a file of noise ratios: {escape(error)}") from error


def _ratios_of(table: object, modality: str, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return the ratio of each class. Raises ValueError."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{modality} is {shown(table)}, expected a table")
    if missing := [label for label in labels if label not in table]:
        raise ValueError(f"[{modality}] has no ratio of the class {shown(missing[0])}")
    if unknown := [label for label in table if label not in labels]:
        raise ValueError(f"[{modality}] has a class that the data do not have: {shown(unknown[0])}")
    for label, value in table.items():
        if type(value) not in {int, float} or not 0 <= value <= 1:
            raise ValueError(f"[{modality}] {shown(label)} is {shown(value)}, expected a number from 0 to 1")
    return np.array([float(table[label]) for label in labels])


def format_removed(removed: RemovedLabels, filenames: Sequence[str], labels: Sequence[str]) -> bytes:
    """Format removed labels as a table that can be read and edited.

    Args:
        removed: (N, C) each.
        filenames: of N clips.
        labels: C class names.

    Returns:
        The content of the file: a row for each clip and modality that loses labels.
    """
    lines = ["\t".join(_COLUMNS)]
    for index, filename in enumerate(filenames):
        for modality, table in removed._asdict().items():
            if table[index].any():
                names = ",".join(labels[column] for column in map(int, np.flatnonzero(table[index])))
                lines.append(format_cells(filename, modality, names))
    return "".join(f"{line}\n" for line in lines).encode()


def read_removed(path: Path, clips: SplitDataset, labels: Sequence[str]) -> RemovedLabels:
    """Read removed labels.

    Args:
        path: a file of `format_removed`, which may have been edited.
        clips: of training.
        labels: C class names of the data.

    Returns:
        The labels that do not hold for each modality.

    Raises:
        SetupError: the file cannot be read, or names a clip, a modality or a label that the data do not have.
    """
    rows = {filename: index for index, filename in enumerate(clips.filenames)}
    columns = {label: index for index, label in enumerate(labels)}
    shape = clips.video_labels.shape
    removed = RemovedLabels(np.zeros(shape, bool), np.zeros(shape, bool))
    try:
        table = parse_table(read_text(path).text, _COLUMNS, delimiters="\t;")
        table.require(_COLUMNS, separated="tab-separated")
        if table.problems:
            raise ValueError(f"line {table.problems[0].line}: {table.problems[0].cause}")
        for row in table.rows:
            filename, modality, names = (row.cells[column] for column in _COLUMNS)
            if filename not in rows or modality not in _MODALITIES:
                what = f"clip {shown(filename)}" if filename not in rows else f"modality {shown(modality)}"
                raise ValueError(f"line {row.line}: unknown {what}")
            for name in filter(None, (name.strip() for name in names.split(","))):
                if name not in columns or not clips.video_labels[rows[filename], columns[name]]:
                    raise ValueError(f"line {row.line}: {shown(filename)} does not have the label {shown(name)}")
                getattr(removed, modality)[rows[filename], columns[name]] = True
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not a file of removed labels: {escape(error)}") from error
    return removed


def write_record(root: Path, record: Mapping[str, Any]) -> None:
    """Write stage.json, which says that the stage is complete. Raises OutputError."""
    write_atomic(root / RECORD_FILE, (json.dumps({"format": _FORMAT, **record}, indent=2) + "\n").encode())


def read_record(root: Path) -> dict[str, Any] | None:
    """Read stage.json.

    Args:
        root: folder of the stage.

    Returns:
        The record; None if the stage is not complete.

    Raises:
        SetupError: the file cannot be read.
    """
    if not (root / RECORD_FILE).exists():
        return None
    try:
        record = read_json(root / RECORD_FILE)
        if not isinstance(record, dict) or record.pop("format", None) != _FORMAT:
            raise ValueError("not the record of a stage")
        for name in ("inputs", "output", "counts"):
            if not isinstance(record.get(name), dict):
                raise ValueError(f"{name} is missing")
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(root / RECORD_FILE)}: cannot be read: {escape(error)}") from error
    return record


def describe_ratios(ratios: NoiseRatios, labels: Sequence[str]) -> str:
    """Describe noise ratios in a line: means, the noisiest class of each modality, and whether they are likely."""
    parts = []
    for modality, table in ratios._asdict().items():
        worst = int(np.argmax(table))
        parts.append(f"{modality} {table.mean():.0%} (most: {labels[worst]} {table[worst]:.0%})")
    text = f"wrong labels, mean over the classes: {', '.join(parts)}"
    if max(table.mean() for table in ratios) > _UNLIKELY:
        text += "; most of them: train the estimator longer, or lower audio_below and visual_below of the stage"
    return text
