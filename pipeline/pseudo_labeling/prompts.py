"""Text prompts and logit thresholds per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...models.config import MAX_LABELS
from ...weights.messages import shown
from ...weights.toml import parse_toml, toml_string
from ..datasets.annotation_cells import label_name_error
from ..errors import SetupError
from ..text import escape
from ..text_files import read_bytes

VALOR = Path(__file__).with_name("valor.toml")
PROMPTS_FILE = "prompts.toml"  # beside the labels: the prompts, with the thresholds that the labels were made with
# Modality -> key of its text prompt in TOML files and in the record; the key of its threshold is <key>_threshold.
MODALITY_KEYS = {"visual": "seen", "audio": "heard"}
_TEXT_KEYS = ("label", *MODALITY_KEYS.values())
_THRESHOLD_KEYS = tuple(f"{key}_threshold" for key in MODALITY_KEYS.values())
MAX_PROMPT_CHARACTERS = 1_000  # of a sentence; the teachers read 77 tokens of it
_MAX_FLOAT32 = 3.4e38


@dataclass(frozen=True)
class Prompts:
    """Text prompts and logit thresholds of C classes. A class is active where its logit exceeds the threshold.

    Attributes:
        labels: names of the classes.
        visual_prompts: a sentence for CLIP per class.
        audio_prompts: a sentence for CLAP per class.
        visual_thresholds: of CLIP's logits, per class.
        audio_thresholds: of CLAP's logits, per class.
    """

    labels: tuple[str, ...]
    visual_prompts: tuple[str, ...]
    audio_prompts: tuple[str, ...]
    visual_thresholds: tuple[float, ...]
    audio_thresholds: tuple[float, ...]

    def prompts(self, modality: str) -> tuple[str, ...]:
        """Return the text prompts of "audio" or "visual"."""
        return getattr(self, f"{modality}_prompts")

    def thresholds(self, modality: str) -> tuple[float, ...]:
        """Return the logit thresholds of "audio" or "visual"."""
        return getattr(self, f"{modality}_thresholds")

    @property
    def origin(self) -> str:
        """Where the thresholds come from, for the record."""
        return "as given"

    def with_thresholds(self, thresholds: Mapping[str, Sequence[float]]) -> Prompts:
        """Return the same text prompts with other thresholds, by modality."""
        return replace(self, **{f"{modality}_thresholds": tuple(values) for modality, values in thresholds.items()})

    def select(self, labels: Sequence[str]) -> Prompts:
        """Return the prompts of these classes, in this order. Raises ValueError for an unknown class."""
        indices = [self.labels.index(label) for label in labels]
        return Prompts(**{name: tuple(column[index] for index in indices) for name, column in vars(self).items()})

    def to_record(self) -> dict[str, Sequence[Any]]:
        """Return the columns under their keys in the record."""
        texts = {key: self.prompts(modality) for modality, key in MODALITY_KEYS.items()}
        thresholds = {f"{key}_threshold": self.thresholds(modality) for modality, key in MODALITY_KEYS.items()}
        return {"labels": self.labels, **texts, **thresholds}

    def to_toml(self) -> str:
        """Return the content of a TOML file that `read_prompts` reads."""
        lines = []
        for index, label in enumerate(self.labels):
            lines += ["[[class]]", f"label = {toml_string(label)}"]
            for modality, key in MODALITY_KEYS.items():
                lines += [f"{key} = {toml_string(self.prompts(modality)[index])}"]
                lines += [f"{key}_threshold = {self.thresholds(modality)[index]!r}"]
            lines.append("")
        return "\n".join(lines)


def read_prompts(path: Path = VALOR) -> Prompts:
    """Read a TOML file with a table [[class]] per class.

    Args:
        path: each table has the keys label, seen, seen_threshold, heard and heard_threshold; by default the prompts and
            thresholds that VALOR uses for LLP.

    Returns:
        The prompts, in the order of the file.

    Raises:
        SetupError: the file is unreadable, a key is missing or has a wrong type, a class is listed twice.

    Source:
        VALOR (Lai, Chen, Wang: Modality-Independent Teachers Meet Weakly-Supervised Audio-Visual Event Parser, NeurIPS
        2023) and its program, github.com/Franklin905/VALOR.
    """
    try:
        return parse_prompts(read_bytes(path), path)
    except ValueError as error:
        raise SetupError(f"{escape(path)}: cannot be read: {error}") from error


def parse_prompts(content: bytes, path: Path | str) -> Prompts:
    """Parse the content of a file of prompts.

    Args:
        content: TOML, as `read_prompts` describes it.
        path: of the file, for error messages.

    Returns:
        The prompts, in the order of the file.

    Raises:
        SetupError: as `read_prompts`.
    """
    try:
        tables = parse_toml(content).get("class")
    except ValueError as error:
        raise SetupError(f"{escape(path)}: not a TOML file of prompts: {escape(error)}") from error
    if not isinstance(tables, list) or not tables:
        raise SetupError(f"{escape(path)}: has no [[class]] with label, seen, heard and their thresholds")
    if len(tables) > MAX_LABELS:
        raise SetupError(f"{escape(path)}: has {len(tables)} classes, more than {MAX_LABELS:,}")
    keys = (*_TEXT_KEYS, *_THRESHOLD_KEYS)
    rows = [[_parse_value(path, number, table, key) for key in keys] for number, table in enumerate(tables, 1)]
    columns: dict[str, tuple[Any, ...]] = dict(zip(keys, zip(*rows, strict=True), strict=True))
    labels = columns["label"]
    for label in labels:
        if fault := label_name_error(label):
            raise SetupError(f"{escape(path)}: invalid class name {shown(label)}: {fault}")
    if len(set(labels)) < len(labels):
        ((duplicate, _),) = Counter(labels).most_common(1)
        raise SetupError(f"{escape(path)}: class {escape(duplicate)} is listed twice")
    return Prompts(
        labels=labels,
        visual_prompts=columns["seen"],
        audio_prompts=columns["heard"],
        visual_thresholds=columns["seen_threshold"],
        audio_thresholds=columns["heard_threshold"],
    )


def _parse_value(path: Path | str, number: int, table: Any, key: str) -> Any:
    value = table.get(key) if isinstance(table, dict) else None
    if key in _TEXT_KEYS and isinstance(value, str) and value.strip():
        if len(value) > MAX_PROMPT_CHARACTERS:
            limit = f"longer than {MAX_PROMPT_CHARACTERS:,} characters"
            raise SetupError(f"{escape(path)}: class {number}: {key} is {limit}: {shown(value)}")
        return value
    is_threshold = key in _THRESHOLD_KEYS and not isinstance(value, bool)
    if is_threshold and isinstance(value, int | float) and abs(value) <= _MAX_FLOAT32:
        return float(value)
    expected = "a number" if key in _THRESHOLD_KEYS else "a text"
    raise SetupError(f"{escape(path)}: class {number}: {key} is {shown(value)}, expected {expected}")
