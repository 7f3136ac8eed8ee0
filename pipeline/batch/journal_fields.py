"""Read the fields of a line that anybody may have changed: every value has its type and is in its range.

Each function returns the value, or raises ValueError with a message that is not for users.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from .storage import is_name

MAX_INT = (1 << 63) - 1  # of sizes, in bytes, and of numbers
MAX_TIME = 1 << 66  # ns before or after 1970; file systems keep years beyond 2262, which 64 bits end with
MAX_ITEMS = 1000  # of a list or a mapping
_HASH = re.compile("[0-9a-f]{0,64}")


def read_fields(
    values: Any, readers: Mapping[str, Callable[[Any], Any]], optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Read a JSON object that has exactly these fields. Raises ValueError."""
    if type(values) is not dict or not readers.keys() - optional <= values.keys() <= readers.keys():
        raise ValueError("other fields than expected")
    return {name: readers[name](value) for name, value in values.items()}


def read_text(value: Any) -> str:
    """Return text of characters, and of surrogates that stand for the bytes of names that are not UTF-8."""
    if type(value) is not str:
        raise ValueError("not text")
    if not value.isascii():
        os.fsencode(value)
    return value


def read_path(value: Any) -> str:
    """Return a path of an input."""
    if "\0" in read_text(value):
        raise ValueError("not a path")
    return value


def read_name(value: Any) -> str:
    """Return a name that leads nowhere outside of the storage."""
    if not is_name(read_text(value)):
        raise ValueError("not a name inside")
    return value


def read_hash(value: Any) -> str:
    """Return a sha256 in hex; empty where none was computed."""
    if _HASH.fullmatch(read_text(value)) is None:
        raise ValueError("not a checksum")
    return value


def integer_between(least: int, most: int = MAX_INT) -> Callable[[Any], int]:
    """Return a reader of integers of a range, both ends included."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError("not an integer of this range")
        return value

    return read


def read_number(value: Any) -> float:
    """Return a finite number."""
    if type(value) not in {int, float} or not math.isfinite(value) or abs(value) > MAX_INT:
        raise ValueError("not a number")
    return value


def read_duration(value: Any) -> float:
    """Return a number that is not negative."""
    if read_number(value) < 0:
        raise ValueError("negative")
    return value


def read_fact(value: Any) -> Any:
    """Return a value of the facts of a media file: text, a number, or nothing."""
    if value is None or type(value) is bool:
        return value
    return read_text(value) if type(value) is str else read_number(value)


def mapping_of(read: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Return a reader of objects whose values are read by a function."""

    def read_all(values: Any) -> dict[str, Any]:
        if type(values) is not dict or len(values) > MAX_ITEMS:
            raise ValueError("not an object")
        return {read_text(name): read(value) for name, value in values.items()}

    return read_all


def read_texts(values: Any) -> tuple[str, ...]:
    """Return a list of texts."""
    if type(values) is not list or len(values) > MAX_ITEMS:
        raise ValueError("not a list")
    return tuple(map(read_text, values))
