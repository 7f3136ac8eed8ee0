"""Text for messages: escaped, shortened, counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    """Text from outside (a file name, a label) as one line that is safe on a terminal.

    Newlines, escape sequences and bytes that are no text are shown as backslash escapes.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
        for character in str(text)
    )


def first_few(names: Sequence[str]) -> str:
    """ "a, b, c, ..." as `escape`."""
    return ", ".join(map(escape, names[:3])) + (", ..." if len(names) > 3 else "")


def count_of(names: Iterable[str], what: str) -> str:
    """ "8 clips (a, b, c, ...)"."""
    ordered = sorted(names)
    plural = "" if len(ordered) == 1 else "es" if what.endswith("s") else "s"
    return f"{len(ordered)} {what}{plural} ({first_few(ordered)})"
