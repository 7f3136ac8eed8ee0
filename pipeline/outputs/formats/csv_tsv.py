"""CSV and TSV: a row for each event."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import cast

from ...text import escape
from ...timeline import Event, Modality, Timeline

COLUMNS = ("file", "modality", "label", "onset", "offset", "score")
_NEEDED = COLUMNS[1:5]
_DECIMALS = 6
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
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
    name = escape(timeline.name)
    for event in timeline.events:
        score = round(event.score, _DECIMALS)
        writer.writerow((name, event.modality, event.label, event.onset, event.offset, score))
    return text.getvalue().encode("utf-8", "backslashreplace")


def read_csv(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """Columns in any order and in any case, others are skipped; a timeline for each file that the rows name.

    Semicolons in place of commas, UTF-16 and empty rows, as spreadsheets write them, are understood. Without a score
    events have 1, without `file` they are all of the one that the table is named after. Raises ValueError.
    """
    return _read(contents, name, ",")


def read_tsv(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """The same of a table between tabs."""
    return _read(contents, name, "\t")


def _read(contents: Mapping[str, bytes], name: str, delimiter: str) -> list[Timeline]:
    (content,) = contents.values()
    text = content.decode("utf-16" if content[:2] in _UTF_16 else "utf-8-sig")
    head = text.split("\n", 1)[0]
    delimiter = max((delimiter, ";", "\t"), key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip().casefold() for column in next(rows, [])]
        if missing := [column for column in _NEEDED if column not in columns]:
            raise ValueError(f"no column {', '.join(missing)}")
        events: dict[str, list[Event]] = {}
        for values in rows:
            if not any(values):
                continue
            if len(values) != len(columns):
                raise ValueError(f"line {rows.line_num}: {len(values)} columns, expected {len(columns)}")
            row = dict(zip(columns, values, strict=True))
            try:
                onset, offset, score = float(row["onset"]), float(row["offset"]), float(row.get("score") or 1)
                event = Event(cast("Modality", row["modality"].strip()), row["label"], onset, offset, score)
            except ValueError as error:
                raise ValueError(f"line {rows.line_num}: {error}") from error
            events.setdefault(row.get("file") or name, []).append(event)
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num}: {error}") from error
    return [Timeline.of_events(own, path=file) for file, own in (events or {name: []}).items()]
