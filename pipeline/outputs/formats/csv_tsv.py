"""CSV and TSV tables with one row per event."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import cast

from ...event_limits import check_timelines
from ...tables import NumberReader, parse_table
from ...text import encode_text, escape
from ...timeline import MAX_EVENTS, Event, Modality, Timeline

COLUMNS = ("file", "modality", "label", "onset", "offset", "score")
REQUIRED_COLUMNS = COLUMNS[1:5]
SCORE_DECIMALS = 6
COMMENT = "comment"  # column that is only there where an event has one


def write_csv(timeline: Timeline) -> list[bytes]:
    """Write comma-separated values (RFC 4180) with a header.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    return [write_many({timeline.name: timeline}, ",")]


def write_tsv(timeline: Timeline) -> list[bytes]:
    """Write tab-separated values with a header; values with a tab, a quote or a newline are quoted.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    return [write_many({timeline.name: timeline}, "\t")]


def write_many(timelines: Mapping[str, Timeline], delimiter: str) -> bytes:
    """Write one table with the events of any number of timelines.

    Args:
        timelines: value of the column `file` -> its events.
        delimiter: between cells; with commas, lines end as RFC 4180 has it.

    Returns:
        The content of one file.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n" if delimiter == "," else "\n")
    comments = has_comments(timelines)
    writer.writerow((*COLUMNS, COMMENT) if comments else COLUMNS)
    for name, timeline in timelines.items():
        file = escape(name)
        for event in timeline.events:
            score = round(event.score, SCORE_DECIMALS)
            cells = (file, event.modality, event.label, event.onset, event.offset, score)
            writer.writerow((*cells, event.comment) if comments else cells)
    return encode_text(text.getvalue())


def has_comments(timelines: Mapping[str, Timeline]) -> bool:
    """Return whether an event of the timelines has a comment."""
    return any(event.comment for timeline in timelines.values() for event in timeline.events)


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read a table with columns in any order and any case; unknown columns are skipped.

    The header shows whether commas, semicolons or tabs separate the cells. Numbers may have decimal commas, unless
    commas separate the cells. Without a score, events have score 1.

    Args:
        contents: the text of one file.
        name: name of the timeline of rows without a value in `file`.

    Returns:
        One timeline for each name in the column `file`.

    Raises:
        ValueError: a column is missing, or a row is not an event.
    """
    (text,) = contents.values()
    table = parse_table(text, (*COLUMNS, COMMENT), max_rows=MAX_EVENTS)
    table.require(REQUIRED_COLUMNS)
    for problem in table.problems:
        raise ValueError(f"line {problem.line}: {problem.cause}")
    numbers = NumberReader(decimal_comma=table.delimiter != ",")
    events: dict[str, list[Event]] = {}
    for row in table.rows:
        try:
            event = _event(row.cells, numbers)
        except ValueError as error:
            raise ValueError(f"line {row.line}: {error}") from error
        events.setdefault(row.cells.get("file") or name, []).append(event)
    check_timelines(events)
    return [Timeline.of_events(file_events, path=file) for file, file_events in (events or {name: []}).items()]


def _event(cells: Mapping[str, str], numbers: NumberReader) -> Event:
    texts = (cells["onset"], cells["offset"], cells.get("score") or "1")
    onset, offset, score = map(numbers.parse, texts)
    modality = cast("Modality", cells["modality"].casefold())
    return Event(modality, cells["label"], onset, offset, score, cells.get(COMMENT, ""))
