"""One table with the events of many timelines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

from ...timeline import Timeline
from . import csv_tsv, parquet
from .registry import FORMATS

TABLES: dict[str, Callable[[Mapping[str, Timeline]], bytes]] = {
    "csv": partial(csv_tsv.write_many, delimiter=","),
    "tsv": partial(csv_tsv.write_many, delimiter="\t"),
    "parquet": parquet.write_many,
}


def write_table(timelines: Mapping[str, Timeline] | Iterable[Timeline], format: str) -> bytes:
    """Write one table with the events of many timelines.

    The column `file` tells them apart; `read_events` reads the table as many timelines again. Timelines without events
    have no rows. A table may have more rows than are read (`MAX_EVENTS`): it is for other programs, too.

    Args:
        timelines: name in the column `file` -> timeline; of timelines alone, the names are their own.
        format: key of `TABLES`.

    Returns:
        The content of one file.

    Raises:
        ValueError: the format has no tables, or two timelines have the same name.
        SetupError: the format's extra is not installed.
    """
    if format not in TABLES:
        raise ValueError(f"unknown table format {format!r}; known: {', '.join(TABLES)}")
    FORMATS[format].require()
    return TABLES[format](_by_name(timelines))


def _by_name(timelines: Mapping[str, Timeline] | Iterable[Timeline]) -> Mapping[str, Timeline]:
    if isinstance(timelines, Mapping):
        return cast("Mapping[str, Timeline]", timelines)
    named: dict[str, Timeline] = {}
    for timeline in timelines:
        if timeline.name in named:
            raise ValueError(f"two timelines are called {timeline.name!r}")
        named[timeline.name] = timeline
    return named
