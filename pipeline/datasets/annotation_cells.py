"""Cells of annotation tables: names of classes and of clips, whole seconds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from ...models.config import MAX_LABEL_CHARACTERS
from ..segments import MAX_MEDIA_SECONDS
from ..tables import NumberReader, parse_table
from ..text import escape, shorten

MAX_PROBLEMS = 1_000  # lines of the annotations with a fault, after which no more are read
_MAX_HINTS = 20  # unknown classes for which a similar one is looked for; no more problems are listed
_MAX_HINT_LENGTH = 100  # characters of an unknown class for which a similar one is looked for


def label_name_error(name: str, *, commas: bool = False) -> str:
    """Check a class name.

    Args:
        name: of a class.
        commas: allow commas, which separate classes in LLP's files, but not in AVE's.

    Returns:
        Why the files of a data set cannot hold it; empty if they can.
    """
    if len(name) > MAX_LABEL_CHARACTERS:
        return f"it is longer than {MAX_LABEL_CHARACTERS:,} characters"
    if set(name) & set("\t\r\n" if commas else ",\t\r\n"):
        return f"it contains a {'' if commas else 'comma, a '}tab or a newline"
    if any(character < " " or "\x7f" <= character < "\xa0" for character in name):
        return "it contains a control character"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "it contains half of a character (a surrogate), which UTF-8 cannot hold"
    if not name or name != name.strip():
        return "it is empty, or begins or ends with whitespace"
    return "it stands for all classes in a thresholds file" if name == "default" else ""


def usable_clip_name(name: str) -> bool:
    """Return whether the files of a data set, in UTF-8, can hold a clip of this name."""
    utf8 = name.encode(errors="ignore").decode()  # without surrogates, which stand for bytes that are not UTF-8
    return bool(name) and name == name.strip() == utf8 and not set(name) & set("\t\r\n")


def split_labels(cell: str) -> list[str]:
    """Split a comma-separated list of classes, which may be empty."""
    return [label.strip() for label in cell.split(",") if label.strip()]


def read_table(text: str, name: str, columns: Sequence[str], problems: list[str]) -> list[tuple[int, list[str]]]:
    """Read a table whose columns are separated by tabs, or by semicolons as spreadsheets write them.

    Commas do not separate columns: they separate the classes of a clip, usually without quotes.

    Args:
        text: of the file.
        name: of the file, for the problems.
        columns: names of the columns to return; the table may have others.
        problems: a line is appended for each row that cannot be read.

    Returns:
        For each row, the number of its line and the values of `columns` in that order.

    Raises:
        ValueError: the header lacks a column, or a quote is not closed. The message does not name the file.
    """
    table = parse_table(text, columns, delimiters="\t;")
    table.require(columns, separated="tab-separated")
    problems += [f"{name}:{problem.line}: {problem.cause}" for problem in table.problems]
    return [(row.line, [row.cells[column] for column in columns]) for row in table.rows]


def class_finder(labels: Sequence[str]) -> Callable[[str], int]:
    """Make a function that looks up the index of a class; it raises ValueError, with the nearest name, for others."""
    indices = {label: index for index, label in enumerate(labels)}
    unknown: list[str] = []

    def find(label: str) -> int:
        if label in indices:
            return indices[label]
        unknown.append(label)
        searched = len(unknown) <= _MAX_HINTS and len(label) <= _MAX_HINT_LENGTH
        close = difflib.get_close_matches(label, labels, 1) if searched else []
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"unknown class {shorten(label)}{hint}")

    return find


def whole_seconds(text: str, numbers: NumberReader) -> int:
    """Parse a whole number of seconds, of at most 24 hours and possibly negative.

    Args:
        text: of a cell.
        numbers: of the table.

    Returns:
        The number.

    Raises:
        ValueError: the text is no such number. The message names neither file nor line.
    """
    try:
        number = numbers.parse(text)
        if number != int(number):
            raise ValueError
    except ValueError:
        raise ValueError(f"{shorten(text)} is not a whole number of seconds") from None
    if abs(number) > MAX_MEDIA_SECONDS:
        raise ValueError(f"{escape(text)} seconds are more than {MAX_MEDIA_SECONDS // 3600} hours")
    return int(number)
