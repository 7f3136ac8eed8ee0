"""Parquet tables with one row per event: the columns of the CSV tables, with types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ...event_limits import MAX_EVENTS_BYTES, check_timelines
from ...text import escape
from ...timeline import MAX_COMMENT, MAX_EVENTS, MAX_LABEL_LENGTH, MAX_PATH, Event, Modality, Timeline
from .csv_tsv import COLUMNS, COMMENT, REQUIRED_COLUMNS, SCORE_DECIMALS, has_comments

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet as pq

MAX_COLUMNS = 1_000  # of a file, also those that are not read
MAX_ROW_GROUPS = 10_000  # of a file; pandas and pyarrow write one for each million rows
_TEXTS = (*COLUMNS[:3], COMMENT)
_MAX_THRIFT = 1 << 20  # bytes of a string, and items of a list, in the description of a file
_LONGEST = {COMMENT: MAX_COMMENT, "file": MAX_PATH}  # characters; of others `MAX_LABEL_LENGTH`


def write(timeline: Timeline) -> list[bytes]:
    """Write the events of one timeline.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    return [write_many({timeline.name: timeline})]


def write_many(timelines: Mapping[str, Timeline]) -> bytes:
    """Write one table with the events of any number of timelines.

    Args:
        timelines: value of the column `file` -> its events.

    Returns:
        The content of one file: three columns of text, three of 64-bit floating point. Halves of characters
        (surrogates) in labels become backslash escapes.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    rows = [(escape(name), event) for name, timeline in timelines.items() for event in timeline.events]
    labels = {label: _unicode(label) for label in {event.label for _, event in rows}}
    columns = {
        "file": pa.array([name for name, _ in rows], pa.string()),
        "modality": pa.array([event.modality for _, event in rows], pa.string()),
        "label": pa.array([labels[event.label] for _, event in rows], pa.string()),
        "onset": pa.array([event.onset for _, event in rows], pa.float64()),
        "offset": pa.array([event.offset for _, event in rows], pa.float64()),
        "score": pa.array([round(event.score, SCORE_DECIMALS) for _, event in rows], pa.float64()),
    }
    if has_comments(timelines):
        columns[COMMENT] = pa.array([_unicode(event.comment) for _, event in rows], pa.string())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def read(content: bytes, name: str) -> list[Timeline]:
    """Read a table with columns in any order and any case; other columns are skipped.

    Without a score, events have score 1. What the file says about its size is checked before it is decoded; columns of
    text are decoded as dictionaries, so that a value takes memory once.

    Args:
        content: of one file.
        name: name of the timeline of rows without a value in `file`.

    Returns:
        One timeline for each name in the column `file`.

    Raises:
        ValueError: the content is not Parquet, a column is missing or of another type, a row is not an event, or the
            table is too large.
    """
    import pyarrow as pa

    try:
        columns = _choose_columns(_open(content).metadata)
        texts = [column for key, column in columns.items() if key in _TEXTS]
        table = _open(content, dictionaries=texts).read(list(columns.values()), use_threads=False)
        values = [_values(table, columns, key) for key in (*COLUMNS, COMMENT)]
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise ValueError(f"not Parquet that can be read: {str(error).strip()}") from error
    events: dict[str, list[Event]] = {}
    for number, (file_name, modality, label, onset, offset, score, comment) in enumerate(zip(*values, strict=True), 1):
        try:
            kind = cast("Modality", str(modality).casefold())
            event = Event(kind, label or "", onset, offset, 1.0 if score is None else score, comment or "")
        except (ValueError, TypeError) as error:
            raise ValueError(f"row {number}: {error}") from error
        events.setdefault(file_name or name, []).append(event)
    check_timelines(events)
    return [Timeline.of_events(file_events, path=path) for path, file_events in (events or {name: []}).items()]


def _open(content: bytes, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    import pyarrow as pa
    from pyarrow import parquet as pq

    return pq.ParquetFile(
        pa.BufferReader(content),
        read_dictionary=dictionaries,
        thrift_string_size_limit=_MAX_THRIFT,
        thrift_container_size_limit=_MAX_THRIFT,
    )


def _choose_columns(metadata: pq.FileMetaData) -> dict[str, str]:
    """Return wanted column -> its name in the file.

    Raises:
        ValueError: the file states that it is larger than the limits, or lacks a column.
    """
    if metadata.num_rows > MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS:,} rows")
    if metadata.num_columns > MAX_COLUMNS or metadata.num_row_groups > MAX_ROW_GROUPS:
        raise ValueError(f"more than {MAX_COLUMNS:,} columns or {MAX_ROW_GROUPS:,} groups of rows")
    names = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    columns = {name.casefold(): name for name in reversed(names) if name.casefold() in {*COLUMNS, COMMENT}}
    if missing := [column for column in REQUIRED_COLUMNS if column not in columns]:
        raise ValueError(f"has no column {', '.join(missing)}; expected {', '.join(REQUIRED_COLUMNS)}")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    places = [place for place, name in enumerate(names) if name in columns.values()]
    if sum(group.column(place).total_uncompressed_size for group in groups for place in places) > MAX_EVENTS_BYTES:
        raise ValueError(f"more than {MAX_EVENTS_BYTES >> 20} MiB when decompressed")
    return columns


def _values(table: pa.Table, columns: Mapping[str, str], key: str) -> list[Any]:
    """Return the values of a column of the decoded table, None where it is not there or has none."""
    import pyarrow as pa

    column = table.column(columns[key]) if key in columns else None
    if column is None or (key in _TEXTS and pa.types.is_null(column.type)):
        return [None] * table.num_rows
    if key in _TEXTS:
        return [text for chunk in column.chunks for text in _texts(chunk, key)]
    kind, types = column.type, pa.types
    if not any(fits(kind) for fits in (types.is_integer, types.is_floating, types.is_decimal, types.is_null)):
        raise ValueError(f"the column {key} has no numbers, its type is {kind}")
    values = column.cast(pa.float64()).to_pylist()
    if key in REQUIRED_COLUMNS and None in values:
        raise ValueError(f"row {values.index(None) + 1}: {key} is empty")
    return values


def _texts(chunk: Any, key: str) -> Iterator[str | None]:
    """Yield the texts of a part of a column, each distinct one a single object."""
    import pyarrow as pa

    if not pa.types.is_dictionary(chunk.type):
        raise ValueError(f"the column {key} has no text, its type is {chunk.type}")
    values = chunk.dictionary.cast(pa.string())
    values.validate(full=True)
    distinct = values.to_pylist()
    longest = max((len(text) for text in distinct if text is not None), default=0)
    if longest > (most := _LONGEST.get(key, MAX_LABEL_LENGTH)):
        raise ValueError(f"the column {key} has a text of {longest:,} characters, more than {most:,}")
    return (None if index is None else distinct[index] for index in chunk.indices.to_pylist())
