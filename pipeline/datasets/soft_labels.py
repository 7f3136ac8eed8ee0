"""Soft segment labels: how sure the teachers of pseudo labels are, from their scores and thresholds.

`avvp pseudo-label` leaves both beside its labels: `CLAP/scores/<id>.npy` for audio, `CLIP/scores/<id>.npy` for visual,
(T, C) logits, and the thresholds of the classes in `pseudo_labels.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..text import escape
from ..text_files import read_json
from ..timeline import SegmentLabels
from .clip_tables import fill_table
from .pseudo_labels import RECORD

SCORES = {"audio": Path("CLAP/scores"), "visual": Path("CLIP/scores")}
THRESHOLD_KEYS = {"audio": "heard_threshold", "visual": "seen_threshold"}  # in the record's prompts
MISSING_STREAMS = "without_stream"  # key of the record: modality -> clips whose media file lacks it
MAX_SOFT_CELLS = 1 << 28  # clips x seconds x classes, four bytes each and modality
_ADVICE = "soft targets need the scores and the record that avvp pseudo-label writes beside its labels"


class SoftLabels(NamedTuple):
    """Probabilities that the teachers give to the labels of N clips, 0 past the end of each."""

    audio: NDArray[np.float32]  # (N, T, C)
    visual: NDArray[np.float32]  # (N, T, C)


class Frequencies(NamedTuple):
    """Share of the seconds of a split in which each class is active."""

    audio: NDArray[np.float32]  # (C,)
    visual: NDArray[np.float32]  # (C,)


def class_frequencies(labels: SegmentLabels, lengths: NDArray[np.int64]) -> Frequencies:
    """Count in which share of all seconds each class is active.

    Args:
        labels: (N, T, C), False past the end of each clip.
        lengths: (N,) seconds.

    Returns:
        Shares of the classes.
    """
    total = max(int(lengths.sum()), 1)
    return Frequencies(*((table.sum(axis=(0, 1)) / total).astype(np.float32) for table in labels))


def read_soft_labels(
    root: Path, ids: Sequence[str], lengths: Sequence[int], weak: NDArray[np.bool_], temperature: float
) -> tuple[SoftLabels | None, list[str]]:
    """Read scores and compute ``sigmoid((score - threshold) / temperature)``, 0 for classes that a clip does not have.

    Args:
        root: folder of the pseudo labels, whose record fits the classes, see `pseudo_labels.check_record`.
        ids: names of the N clips' files.
        lengths: seconds of each clip.
        weak: (N, C), classes of each clip.
        temperature: above 0.

    Returns:
        The labels, and a line for each file that cannot be used; None without a record.

    Raises:
        DatasetError: the table would have more than `MAX_SOFT_CELLS` cells.

    Source:
        Lai et al., UWAV, CVPR 2025, and its program, whose temperature is 2. A file without the stream of a modality
        has probabilities of 0, as `avvp pseudo-label` gives it no labels.
    """
    classes, longest = weak.shape[1], max(lengths, default=1)
    if len(ids) * longest * classes > MAX_SOFT_CELLS:
        size = f"{len(ids)} clips of up to {longest} s and {classes} classes"
        raise DatasetError(f"soft labels of {size} are more than {MAX_SOFT_CELLS:,}; use shorter or fewer clips")
    try:
        thresholds, missing = _read_record(root / RECORD, classes)
    except ValueError as error:
        return None, [f"{escape(root / RECORD)}: {error}; {_ADVICE}"]
    tables: dict[str, NDArray[np.float32]] = {}
    problems: list[str] = []
    for modality, limits in thresholds.items():
        scores, file_problems = _read_scores(root / SCORES[modality], ids, lengths, classes)
        problems += file_problems
        present = weak & ~np.isin(np.array(ids), missing[modality])[:, None]
        with np.errstate(over="ignore"):  # of scores far below their threshold
            scores = 1 / (1 + np.exp((limits - scores) / np.float32(temperature)))
        inside = (np.arange(longest) < np.asarray(lengths)[:, None])[:, :, None]
        tables[modality] = (scores * (present[:, None, :] & inside)).astype(np.float32)
    return SoftLabels(**tables), problems


def _read_record(path: Path, classes: int) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[str]]]:
    """Return by modality the thresholds (C,), and the clips without its stream. Raises ValueError."""
    if not path.exists():
        raise ValueError("no such file")
    record = read_json(path)
    prompts = record.get("prompts") if isinstance(record, Mapping) else None
    if not isinstance(prompts, Mapping):
        raise ValueError("it has no thresholds")
    thresholds: dict[str, NDArray[np.float32]] = {}
    for modality, key in THRESHOLD_KEYS.items():
        values = prompts.get(key)
        if not isinstance(values, list) or len(values) != classes or not all(map(_is_number, values)):
            raise ValueError(f"its {key} is not a list of {classes} numbers")
        thresholds[modality] = np.array(values, np.float32)
    missing = record.get(MISSING_STREAMS, {})
    missing = missing if isinstance(missing, Mapping) else {}
    lists: dict[str, list[str]] = {}
    for modality in THRESHOLD_KEYS:
        names = missing.get(modality, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"its {MISSING_STREAMS} is not a list of clips")
        lists[modality] = names
    return thresholds, lists


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and abs(value) < float(np.finfo(np.float32).max)


def _read_scores(
    folder: Path, ids: Sequence[str], lengths: Sequence[int], classes: int
) -> tuple[NDArray[np.float32], list[str]]:
    """Read scores (N, T, C), 0 past the end of each clip, and a line for each file that cannot be used."""
    table = np.zeros((len(ids), max(lengths, default=1), classes), np.float32)
    if not folder.is_dir():
        return table, [f"{escape(folder)}: no such folder; {_ADVICE}"]

    def check(values: NDArray[np.generic]) -> str:
        is_usable = values.dtype.kind == "f" and np.isfinite(values).all()
        return "" if is_usable else "other values than finite numbers"

    return table, fill_table(table, folder, ids, lengths, check)
