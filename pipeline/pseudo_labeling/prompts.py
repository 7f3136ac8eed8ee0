"""What teachers are asked of each class, and from which logit on they are believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from ...weights.toml import parse_toml, toml_string
from ..datasets.annotations import label_name_error
from ..errors import SetupError
from ..text import escape

VALOR = Path(__file__).with_name("valor.toml")
_TEXTS = ("label", "seen", "heard")
_LARGEST = 3.4e38  # of float32
_NUMBERS = ("seen_threshold", "heard_threshold")


@dataclass(frozen=True)
class Prompts:
    """Of C classes: their names, the sentences for CLIP and CLAP, the logits that have to be exceeded."""

    labels: tuple[str, ...]
    seen: tuple[str, ...]
    heard: tuple[str, ...]
    seen_threshold: tuple[float, ...]
    heard_threshold: tuple[float, ...]

    def with_thresholds(self, seen: Sequence[float], heard: Sequence[float]) -> Prompts:
        """The same sentences, believed from other logits on."""
        return replace(self, seen_threshold=tuple(map(float, seen)), heard_threshold=tuple(map(float, heard)))

    def of(self, labels: Sequence[str]) -> Prompts:
        """Those of some classes, in this order."""
        places = [self.labels.index(label) for label in labels]
        return Prompts(*(tuple(column[place] for place in places) for column in astuple(self)))

    def to_toml(self) -> str:
        """The content of a file for `read_prompts`."""
        lines = []
        for index, label in enumerate(self.labels):
            lines += ["[[class]]", f"label = {toml_string(label)}"]
            for sense in ("seen", "heard"):
                lines += [f"{sense} = {toml_string(getattr(self, sense)[index])}"]
                lines += [f"{sense}_threshold = {getattr(self, f'{sense}_threshold')[index]!r}"]
            lines.append("")
        return "\n".join(lines)


def read_prompts(path: Path = VALOR) -> Prompts:
    """A TOML file with a table [[class]] for each: label, seen, seen_threshold, heard, heard_threshold.

    By default what VALOR asked. Raises SetupError for what is missing, or named twice.
    """
    try:
        return parse_prompts(path.read_bytes(), path)
    except OSError as error:
        raise SetupError(f"{escape(path)}: cannot be read: {error.strerror or error}") from error


def parse_prompts(content: bytes, path: Path | str) -> Prompts:
    """Of a file's content; path: for messages. Raises SetupError."""
    try:
        classes = parse_toml(content.decode()).get("class")
    except ValueError as error:
        raise SetupError(f"{escape(path)}: not a readable file of prompts: {escape(error)}") from error
    if not isinstance(classes, list) or not classes:
        raise SetupError(f"{escape(path)}: has no [[class]] with label, seen, heard and their thresholds")
    columns: dict[str, list[Any]] = {name: [] for name in (*_TEXTS, *_NUMBERS)}
    for number, entry in enumerate(classes, 1):
        for name, values in columns.items():
            values.append(_value(path, number, entry, name))
    labels = tuple(columns.pop("label"))
    for label in labels:
        if fault := label_name_error(label):
            raise SetupError(f"{escape(path)}: a class cannot be called {label!r}: {fault}")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise SetupError(f"{escape(path)}: names {escape(twice)} twice")
    return Prompts(labels, **{name: tuple(values) for name, values in columns.items()})


def _value(path: Path | str, number: int, entry: Any, name: str) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if name in _TEXTS and isinstance(value, str) and value.strip():
        return value
    if name in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return float(value)
    what = "a number" if name in _NUMBERS else "a text"
    raise SetupError(f"{escape(path)}: class {number}: {name} is {escape(repr(value))}, expected {what}")
