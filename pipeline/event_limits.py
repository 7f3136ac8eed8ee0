"""Limits of files of events, and reading them within these limits."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import Any

from ..weights.messages import shown
from ..weights.unicode import TextError
from .text_files import parse_json, read_bytes
from .timeline import MAX_EVENTS

MAX_EVENTS_BYTES = 160 << 20  # of a file of events: JSON with the probabilities of 24 hours and 25 classes
MAX_WIDE_BYTES = 64 << 20  # of one that is not ASCII: Python stores four bytes for each of its characters
MAX_NODES = 2_000_000  # objects, lists and keys of a JSON document; an event has six
MAX_VALUES = 10_000_000  # of a JSON document; the probabilities of 24 hours and 25 classes are 8.6 million
MAX_TIMELINES = 20_000  # of one file; LLP has 11,849 clips


def read_event_bytes(path: Path) -> bytes:
    """Read a file of events.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        TextError: the file cannot be read or is too large. The message does not name the file.
    """
    content = read_bytes(path, limit=MAX_EVENTS_BYTES)
    if len(content) > MAX_WIDE_BYTES and not content.isascii():
        raise TextError(f"larger than {MAX_WIDE_BYTES >> 20} MiB, the most that is read of events that are not ASCII")
    return content


def parse_event_json(text: str, *, finite: bool = True, most_nodes: int | None = None) -> Any:
    """Parse a JSON document of events, see `parse_json`.

    Args:
        text: the document.
        finite: refuse NaN and infinite numbers.
        most_nodes: objects, lists and keys; by default `MAX_NODES`.

    Returns:
        The value.

    Raises:
        TextError: the text is not JSON, or holds more than the limits of this module.
    """
    # Counted before they take memory, about a hundred bytes each. Those inside strings count, too.
    most_nodes = MAX_NODES if most_nodes is None else most_nodes
    if sum(map(text.count, "{[:")) > most_nodes or text.count(",") > MAX_VALUES:
        raise TextError(f"more than {most_nodes:,} objects, lists and keys, or {MAX_VALUES:,} values")
    return parse_json(text, finite=finite)


def read_number(value: Any, name: str) -> float:
    """Return a number of a JSON document as a float. Raises ValueError for a value of another type."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {shown(value)}, expected a number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{name} is {shown(value)}, which is too large") from error


def check_events(events: Sized) -> None:
    """Raise ValueError where a reader has as many events as a timeline may have, before it adds another."""
    if len(events) >= MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS:,} events")


def check_timelines(timelines: Sized) -> None:
    """Raise ValueError for a file with more clips than are read."""
    if len(timelines) > MAX_TIMELINES:
        raise ValueError(f"events of {len(timelines):,} files, more than {MAX_TIMELINES:,}")
