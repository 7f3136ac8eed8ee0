"""CSV and TSV: a row for each event."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import cast

from ..errors import printable
from ..timeline import Event, Modality, Timeline

COLUMNS = ("file", "modality", "label", "onset", "offset", "score")
_NEEDED = COLUMNS[1:5]
_DECIMALS = 6
csv.field_size_limit(1 << 20)


def write_csv(timeline: Timeline) -> list[bytes]:
    """Comma-separated, RFC 4180, with a line of column names."""
    return [_write(timeline, ",")]


def write_tsv(timeline: Timeline) -> list[bytes]:
    """Tab-separated; what holds a tab, a quote or a newline is quoted."""
    return [_write(timeline, "\t")]


def _write(timeline: Timeline, delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n" if delimiter == "," else "\n")
    writer.writerow(COLUMNS)
    name = printable(timeline.name)
    for event in timeline.events:
        score = round(event.score, _DECIMALS)
        writer.writerow((name, event.modality, event.label, event.onset, event.offset, score))
    return text.getvalue().encode("utf-8", "backslashreplace")


def read_csv(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """Columns in any order, others are skipped; a timeline for each file that the rows name. Raises ValueError.

    Without a column `score` events have 1, without `file` they are all of the one that the table is named after.
    """
    return _read(contents, name, ",")


def read_tsv(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """The same of a table between tabs."""
    return _read(contents, name, "\t")


def _read(contents: Mapping[str, bytes], name: str, delimiter: str) -> list[Timeline]:
    (content,) = contents.values()
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True)
    try:
        if missing := [column for column in _NEEDED if column not in (rows.fieldnames or ())]:
            raise ValueError(f"no column {', '.join(missing)}")
        events: dict[str, list[Event]] = {}
        for row in rows:
            if None in row or None in row.values():
                raise ValueError(f"line {rows.line_num} has another number of columns than the first")
            try:
                onset, offset, score = float(row["onset"]), float(row["offset"]), float(row.get("score", 1))
                event = Event(cast("Modality", row["modality"]), row["label"], onset, offset, score)
            except ValueError as error:
                raise ValueError(f"line {rows.line_num}: {error}") from error
            events.setdefault(row.get("file") or name, []).append(event)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error
    return [Timeline.of_events(own, path=file) for file, own in (events or {name: []}).items()]
