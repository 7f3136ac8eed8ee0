"""The background: everyday things that are compared with the classes, and never reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ...models.config import MAX_LABELS
from ...weights.messages import shown
from ...weights.toml import parse_toml
from ..datasets.annotation_cells import label_name_error
from ..errors import SetupError
from ..text import escape
from ..text_files import read_bytes
from .class_files import CLASS_FILE_SUFFIX, MAX_CLASS_FILE, MAX_SENTENCES, parse_names
from .vocabulary import OpenClass

SHIPPED = Path(__file__).with_name("background.toml")
NO_BACKGROUND = "none"
_LISTS = ("both", "seen", "heard")


def read_background(name: str | None) -> tuple[tuple[OpenClass, ...], str]:
    """Read a background.

    Args:
        name: a TOML file with `seen`, `heard` and `both`, lists of names, or of lists of names for the same; a text
            file with a name a line, of what is seen and heard; "none"; None for the shipped one.

    Returns:
        Its entries, and what results call it.

    Raises:
        SetupError: the file cannot be read, or is no background.
    """
    if name == NO_BACKGROUND:
        return (), NO_BACKGROUND
    path = SHIPPED if name is None else Path(name)
    try:
        content = read_bytes(path)
        is_table = path.suffix.lower() == CLASS_FILE_SUFFIX
        lists = parse_toml(content, limit=MAX_CLASS_FILE) if is_table else {"both": parse_names(content)}
        if unknown := sorted(set(lists) - set(_LISTS)):
            raise ValueError(f"unknown key {shown(unknown[0])}; known: {', '.join(_LISTS)}")
        entries = tuple(entry for key in _LISTS for entry in _read_entries(key, lists.get(key, [])))
        _check(entries)
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not a background: {escape(error)}") from error
    return entries, "shipped" if name is None else escape(path.name)


def _read_entries(key: str, values: object) -> Iterator[OpenClass]:
    if not isinstance(values, list):
        raise ValueError(f"{key} is {shown(values)}, not a list of names")
    for value in values:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{key} has {shown(value)}, which is neither a name nor a list of names for the same")
        if len(names) > MAX_SENTENCES:
            raise ValueError(f"{key} has {len(names)} names for the same, more than {MAX_SENTENCES}")
        entry = OpenClass.named(*names)
        yield replace(entry, **{other: () for other in ("seen", "heard") if key not in {other, "both"}})


def _check(entries: tuple[OpenClass, ...]) -> None:
    """Raise ValueError for no entry, too many, a name that cannot be one, and one that is there twice."""
    found: set[str] = set()
    for entry in entries:
        for name in (entry.label, *entry.also):
            if fault := label_name_error(name, commas=True):
                raise ValueError(f"{shown(name)} cannot be a name: {fault}")
        if not found.isdisjoint(entry.names):
            raise ValueError(f"{shown(entry.label)}, or another name for it, is there twice")
        found |= entry.names
    if not 0 < len(entries) <= MAX_LABELS:
        raise ValueError(f"has {len(entries):,} entries, expected 1 to {MAX_LABELS:,}; --background none goes without")
