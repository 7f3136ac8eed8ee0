"""CSV and TSV tables with one row per event."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping
from typing import cast

from ...text import escape
from ...timeline import Event, Modality, Timeline

COLUMNS = ("file", "modality", "label", "onset", "offset", "score")
_REQUIRED_COLUMNS = COLUMNS[1:5]
_SCORE_DECIMALS = 6
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MAX_FIELD = 1 << 20  # characters


def write_csv(timeline: Timeline) -> list[bytes]:
    """Write comma-separated values (RFC 4180) with a header.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    return [_write(timeline, ",")]


def write_tsv(timeline: Timeline) -> list[bytes]:
    """Write tab-separated values with a header; values with a tab, a quote or a newline are quoted.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    return [_write(timeline, "\t")]


def _write(timeline: Timeline, delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n" if delimiter == "," else "\n")
    writer.writerow(COLUMNS)
    name = escape(timeline.name)
    for event in timeline.events:
        score = round(event.score, _SCORE_DECIMALS)
        writer.writerow((name, event.modality, event.label, event.onset, event.offset, score))
    return text.getvalue().encode("utf-8", "backslashreplace")


def read_csv(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """Read comma-separated values.

    Columns may be in any order and any case; unknown columns are skipped. Semicolons as separators, UTF-16 and empty
    rows, as spreadsheets write them, are accepted. Without a score, events have score 1.

    Args:
        contents: the content of one file.
        name: name of the timeline of rows without a value in `file`.

    Returns:
        One timeline for each name in the column `file`.

    Raises:
        ValueError: a column is missing, or a row is not an event.
    """
    return _read(contents, name, ",")


def read_tsv(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """Read tab-separated values; otherwise as `read_csv`.

    Args:
        contents: the content of one file.
        name: name of the timeline of rows without a value in `file`.

    Returns:
        One timeline for each name in the column `file`.

    Raises:
        ValueError: a column is missing, or a row is not an event.
    """
    return _read(contents, name, "\t")


@contextlib.contextmanager
def _field_size_limit(characters: int) -> Iterator[None]:
    """Set the csv module's limit for a while: it is global to the process."""
    previous = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(previous)


@_field_size_limit(_MAX_FIELD)
def _read(contents: Mapping[str, bytes], name: str, delimiter: str) -> list[Timeline]:
    (content,) = contents.values()
    text = content.decode("utf-16" if content[:2] in _UTF_16_MARKS else "utf-8-sig")
    header = text.split("\n", 1)[0]
    delimiter = max((delimiter, ";", "\t"), key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip().casefold() for column in next(rows, [])]
        if missing := [column for column in _REQUIRED_COLUMNS if column not in columns]:
            raise ValueError(f"missing column {', '.join(missing)}; required: {', '.join(_REQUIRED_COLUMNS)}")
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
    return [Timeline.of_events(file_events, path=file) for file, file_events in (events or {name: []}).items()]
