"""The background: everyday things that are compared with the classes, and never reported."""

from __future__ import annotations

from pathlib import Path

from ...weights.messages import shown
from ...weights.toml import read_toml
from ..errors import SetupError
from ..text import escape
from .vocabulary import OpenClass

SHIPPED = Path(__file__).with_name("background.toml")
NO_BACKGROUND = "none"


def read_background(name: str | None) -> tuple[tuple[OpenClass, ...], str]:
    """Read a background.

    Args:
        name: a TOML file with `seen`, `heard` and `both`, lists of names; "none"; None for the shipped one.

    Returns:
        Its classes, and what results call it.

    Raises:
        SetupError: the file cannot be read, or is no background.
    """
    if name == NO_BACKGROUND:
        return (), NO_BACKGROUND
    path = SHIPPED if name is None else Path(name)
    try:
        lists = read_toml(path)
        if unknown := sorted(set(lists) - {"seen", "heard", "both"}):
            raise ValueError(f"unknown key {shown(unknown[0])}; known: seen, heard, both")
        classes = [
            OpenClass(item.label, item.seen if key != "heard" else (), item.heard if key != "seen" else ())
            for key in ("both", "seen", "heard")
            for item in map(OpenClass.named, _names(lists.get(key, [])))
        ]
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not a background: {escape(error)}") from error
    return tuple(classes), "shipped" if name is None else path.name


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise ValueError(f"{shown(value)} is not a list of names")
    return value
