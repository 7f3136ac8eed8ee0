"""Text that people read: escaped, shortened, counted; names of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..weights.messages import escape

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SHOWN = 40  # characters of a value in messages
_SHOWN_NAME = 200  # characters of a name in a list of names


def encode_text(text: str) -> bytes:
    r"""Encode the text of a file as UTF-8.

    Args:
        text: of a whole file, with names from outside the program in it.

    Returns:
        UTF-8. Control characters other than tabs and ends of lines, which make readers take a file for binary, and
        halves of characters (surrogates) become backslash escapes.
    """
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text).encode("utf-8", "backslashreplace")


def shorten(text: str) -> str:
    """Quote a value from a file for a message, on one line and not longer than needed."""
    return f"'{escape(text)}'" if len(text) <= _SHOWN else f"'{escape(text[:_SHOWN])}...' ({len(text)} characters)"


def display_label(label: str) -> str:
    """Return the name of a class as people read it: "Vacuum_cleaner" is "Vacuum cleaner".

    Args:
        label: as in files of data.

    Returns:
        The name with spaces for underscores and a capital at the start, escaped.
    """
    words = escape(label.replace("_", " "))
    capital = words[:1].upper()
    return capital + words[1:] if len(capital) == 1 else words


def first_few(names: Sequence[str]) -> str:
    """Join the first three names, escaped and cut if they are long: "a, b, c, ..."."""
    shown = [name if len(name) <= _SHOWN_NAME else f"{name[:_SHOWN_NAME]}..." for name in names[:3]]
    return ", ".join(map(escape, shown)) + (", ..." if len(names) > 3 else "")


def count_of(names: Iterable[str], what: str) -> str:
    """Count names and show the first three in order: "8 clips (a, b, c, ...)".

    Args:
        names: in any order.
        what: the singular of what they name; "clip" gives "clips", "class" gives "classes".

    Returns:
        The count, the noun and the names.
    """
    ordered = sorted(names)
    plural = "" if len(ordered) == 1 else "es" if what.endswith("s") else "s"
    return f"{len(ordered)} {what}{plural} ({first_few(ordered)})"
