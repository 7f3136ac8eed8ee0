"""Lists of inputs: text with a name per line, or tables with a column of names."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

from ....weights.unicode import MAX_TEXT_BYTES, TextError, normalize_lines, read_bytes
from ...errors import SetupError
from ...tables import DELIMITERS, parse_table
from ...text import escape
from ...text_files import decode_text

_COLUMNS = ("path", "file", "video")
_STDIN = "-"
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # BOM_UTF32_LE begins like UTF-16's


def read_list(source: str) -> list[str]:
    """Read a list of inputs. Relative names start from the working folder.

    Args:
        source: a text file with one name per line; a .csv file with a column path, file or video, separated by commas,
            semicolons or tabs; or "-", standard input as text.

    Returns:
        The names, without empty ones. Bytes that are not UTF-8 are kept as Python's surrogateescape does, unless only
        the name in the encoding that they are likely to be in exists.

    Raises:
        SetupError: the file cannot be read, or has no such column.
    """
    try:
        content = _read_stdin() if source == _STDIN else read_bytes(Path(source))
    except OSError as error:
        raise SetupError(f"{escape(source)}: cannot be read: {error.strerror}") from error
    except TextError as error:
        raise SetupError(f"{escape(source)}: cannot be read: {error}") from error
    text = _decode_names(content)
    names = _split_names(source, text)
    if any("\udc80" <= character <= "\udcff" for character in text):
        return _choose_existing(names, source, content)
    return names


def _read_stdin() -> bytes:
    """Read standard input. Raises OSError or TextError."""
    content = sys.stdin.buffer.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise TextError(f"larger than {MAX_TEXT_BYTES >> 20} MiB, the most that is read of a list")
    return content


def _decode_names(content: bytes) -> str:
    """Decode a list. Names are bytes to the system, so everything but UTF-16 and UTF-32 is taken as it is."""
    if content.startswith(_WIDE_MARKS) or b"\0" in content:
        try:
            return decode_text(content).text
        except TextError:  # a name with a null byte fails alone
            pass
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _choose_existing(names: list[str], source: str, content: bytes) -> list[str]:
    """Replace names that do not exist by those that an older encoding gives, if these exist."""
    try:
        others = _split_names(source, decode_text(content, legacy=True).text)
    except (TextError, SetupError):
        return names
    if len(others) != len(names):
        return names
    return [
        other if os.path.lexists(other) and not os.path.lexists(name) else name
        for name, other in zip(names, others, strict=True)
    ]


def _split_names(source: str, text: str) -> list[str]:
    if not source.lower().endswith(".csv"):
        return [line for line in split_lines(text) if line.strip()]
    text = normalize_lines(text)
    try:
        table = parse_table(text, _COLUMNS)
        column = next((name for name in table.columns if name in _COLUMNS), None)
        if column is None:  # then nothing tells the delimiter: show the columns of the likeliest
            headers = [parse_table(text, _COLUMNS, delimiters=delimiter).columns for delimiter in DELIMITERS]
            present = ", ".join(map(escape, max(headers, key=len))) or "none"
            raise SetupError(f"{escape(source)}: no column {', '.join(_COLUMNS)} (found: {present})")
    except TextError as error:
        raise SetupError(f"{escape(source)}: {escape(error)}") from error
    if table.problems:
        first = table.problems[0]
        raise SetupError(
            f"{escape(source)}: line {first.line}: {escape(first.cause)}; put names that hold the separator in quotes"
        )
    return [row.cells[column] for row in table.rows if row.cells[column]]


def split_lines(text: str) -> list[str]:
    """Split text at newlines, each with or without a carriage return; at carriage returns if there are no newlines.

    `str.splitlines` also splits at characters that names contain, such as U+2028 in titles of videos.
    """
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]
