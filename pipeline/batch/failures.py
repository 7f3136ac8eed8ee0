"""Inputs that failed: the category of each cause, counts, and the list `failures.csv`."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from ..errors import FailureCategory, category_of
from ..files import FAILURES_FILE
from ..text import escape
from .storage import Storage

CATEGORIES: frozenset[str] = frozenset(get_args(FailureCategory))
UNKNOWN = "unknown"  # category of failures that earlier versions have journalled
_HEADER = ["id", "path", "category", "cause"]


class Failure(NamedTuple):
    """An input that failed.

    Attributes:
        path: of the input.
        cause: for users.
        category: one of `CATEGORIES`, or `UNKNOWN`.
    """

    path: Path
    cause: str
    category: str


def category_of_input(path: Path) -> FailureCategory:
    """Return the category of a name that leads to no file that can be used."""
    try:
        path.stat()
    except OSError as error:
        return category_of(error)
    except ValueError:  # a NUL
        pass
    return "missing"


def count_categories(categories: Iterable[str]) -> dict[str, int]:
    """Return category -> number of failures, the most frequent first."""
    ranked = Counter(name or UNKNOWN for name in categories)
    return dict(sorted(ranked.items(), key=lambda item: (-item[1], item[0])))


def describe_categories(counts: Mapping[str, int]) -> str:
    """Return the counts in words: "3 damaged, 1 timeout"."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def write_failures(storage: Storage, failures: Mapping[str, Failure], inputs: Collection[str] | None = None) -> None:
    """Write `failures.csv` with id, path, category and cause of each failure; remove it where there are none.

    Args:
        storage: of the run.
        failures: id -> failure.
        inputs: ids of the run's inputs, where it is a shard: failures of others stay in the list. None replaces it.

    Raises:
        OutputError: the list cannot be written.
    """
    rows = [
        [escape(name), escape(failure.path), failure.category, escape(failure.cause)]
        for name, failure in failures.items()
    ]
    if inputs is None:
        _store(storage, rows)
        return
    own = set(map(escape, inputs))
    with storage.list_lock():
        others = [row for row in _read_rows(storage) if row[0] not in own]
        _store(storage, sorted([*others, *rows]))


def _read_rows(storage: Storage) -> list[list[str]]:
    """Return the rows of the list that have its columns; what follows a row that no list has is left out."""
    content = storage.read(FAILURES_FILE)
    if content is None:
        return []
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows += csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""))
    return [row for row in rows if len(row) == len(_HEADER) and row != _HEADER]


def _store(storage: Storage, rows: list[list[str]]) -> None:
    if not rows:
        storage.remove(FAILURES_FILE)
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(rows)
    storage.write(FAILURES_FILE, table.getvalue().encode())
