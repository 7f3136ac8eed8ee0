"""Read the text files that users hand in, whatever program wrote them.

Unicode is read everywhere: UTF-8, UTF-16 and UTF-32, with and without a byte order mark. A format that allows it is
also read in the Windows and East Asian encodings of older programs; then a notice names the encoding.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..weights.unicode import NotUnicodeError, TextError, decode_unicode, detect_encoding, normalize_lines, read_bytes
from .legacy_encodings import decode_legacy
from .text import shorten

_SAMPLE = 1 << 16  # bytes that show the encoding
_MAX_DIGITS = 400  # more digits than the largest float has before its decimal point
MAX_JSON_DEPTH = 64  # lists and objects in one another; writing them again is recursive
MAX_LINE = 1 << 20  # characters of a line of a file that is read line by line


@dataclass(frozen=True)
class Text:
    r"""Decoded content of a text file.

    Attributes:
        text: without byte order mark; every end of a line is "\n".
        notices: what the user should know about the decoding, without the file's name; usually empty.
    """

    text: str
    notices: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Split at ends of lines only, unlike `str.splitlines`: names may contain its other separators."""
        return self.text.split("\n")


def read_text(path: Path, *, legacy: bool = False) -> Text:
    """Read a text file.

    Args:
        path: the file.
        legacy: accept encodings that are not Unicode, see `decode_text`.

    Returns:
        The text and notices about its encoding.

    Raises:
        TextError: the file cannot be read, is too large or is not text. The message does not name the file.
    """
    return decode_text(read_bytes(path), legacy=legacy)


def decode_text(content: bytes, *, legacy: bool = False) -> Text:
    """Decode the content of a text file.

    Args:
        content: of a file.
        legacy: accept encodings that are not Unicode, as older programs write them: Windows-1252 (of which Latin-1 is a
            part) and those that can be told from it, among them Windows-1250, Windows-1251 and Shift JIS.

    Returns:
        The text; a notice names its encoding unless it is Unicode.

    Raises:
        TextError: the content is not text, or not in these encodings. The message does not name the file.
    """
    try:
        return Text(decode_unicode(content))
    except NotUnicodeError:
        if not legacy:
            raise
        text, encoding = decode_legacy(content)
        return Text(normalize_lines(text), (f"read as {encoding}, it is not UTF-8",))


def stream_lines(path: Path) -> Iterator[str]:
    """Read the lines of a file of any size, in a Unicode encoding.

    Args:
        path: the file.

    Yields:
        Lines without their ends. Bytes that are not valid become U+FFFD.

    Raises:
        TextError: the file cannot be read, is a pipe, is binary, or has a line longer than `MAX_LINE`. The
            message does not name the file.
    """
    try:
        if path.is_fifo():
            raise TextError("a pipe, and this file is read twice; save it first")
        with path.open("rb") as file:
            encoding = detect_encoding(file.read(_SAMPLE))
        with path.open(encoding=encoding, errors="replace") as file:
            while line := file.readline(MAX_LINE + 1):
                line = line.rstrip("\n")
                if len(line) > MAX_LINE:
                    raise TextError(f"has a line of more than {MAX_LINE:,} characters")
                yield line.lstrip("\ufeff")
    except OSError as error:
        raise TextError(error.strerror or str(error)) from error


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Parse JSON.

    Args:
        content: the document; bytes are UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        finite: refuse NaN and infinite numbers, which Python's writer allows.

    Returns:
        The value.

    Raises:
        TextError: the content is not text or not JSON, it is nested more than `MAX_JSON_DEPTH` deep, or an object has
            a key twice. The message does not name the file.
    """
    text = decode_unicode(content) if isinstance(content, bytes) else content
    numbers = {"parse_constant": _refuse_number, "parse_float": _finite} if finite else {}
    try:
        value = json.loads(text, parse_int=_integer, object_pairs_hook=_unique, **numbers)
    except json.JSONDecodeError as error:
        raise TextError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except RecursionError as error:
        raise TextError("not JSON that can be read: it is nested too deeply") from error
    if _is_deep(value):
        raise TextError(f"not JSON that can be read: it is nested too deeply, at most {MAX_JSON_DEPTH} levels are")
    return value


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested deeper than `MAX_JSON_DEPTH`, without recursion."""
    level, containers = 0, [value] if isinstance(value, list | dict) else []
    while containers and level <= MAX_JSON_DEPTH:
        level += 1
        containers = [
            item
            for container in containers
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, list | dict)
        ]
    return level > MAX_JSON_DEPTH


def read_json(path: Path, *, finite: bool = True) -> Any:
    """Read a JSON file, see `parse_json`. Raises TextError, whose message does not name the file."""
    return parse_json(read_bytes(path), finite=finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members. Raises TextError for a key that is there twice: readers differ in which counts."""
    members = dict(pairs)
    if len(members) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise TextError(f"has the key {shorten(key)} twice in one object")
    return members


def _integer(text: str) -> int:
    return int(text) if len(text) <= _MAX_DIGITS else _refuse_number(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> NoReturn:
    shown = text if len(text) <= 40 else f"{text[:20]}... ({len(text)} characters)"
    raise TextError(f"{shown} is not a finite number")
