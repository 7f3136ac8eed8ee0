"""Parquet tables with one row per event: the columns of the CSV tables, with types."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
MAX_PAGE_HEADERS = 4 << 20  # bytes of the headers of all pages that are read
_UNCOMPRESSED_SIZE, _COMPRESSED_SIZE = 2, 3  # fields of the header of a page
_TEXTS = (*COLUMNS[:3], COMMENT)
# Types of Thrift's compact protocol. The headers of pages have neither lists nor maps.
_INTEGERS, _BINARY, _STRUCT = {4, 5, 6}, 8, 12
_SIZES = {1: 0, 2: 0, 3: 1, 7: 8}  # true and false are in the type; a byte; a double
_MAX_DEPTH = 8
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

    Without a score, events have score 1. What the file says about its size, in its footer and before each page, is
    checked before it is decoded; columns of text are decoded as dictionaries, so that a value takes memory once.

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
        metadata = _open(content).metadata
        columns = _choose_columns(metadata)
        _check_pages(content, metadata, columns.values())
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
    return columns


def _check_pages(content: bytes, metadata: pq.FileMetaData, names: Collection[str]) -> None:
    """Check how large the pages of columns are when they are decompressed.

    Arrow allocates what the header of a page states, and refuses a page that is longer, but it compares neither with
    the sizes in the footer.

    Raises:
        ValueError: the pages are too large, or the header of one is damaged.
    """
    size, header_bytes = 0, 0
    chunks = (
        metadata.row_group(group).column(place)
        for group in range(metadata.num_row_groups)
        for place in range(metadata.num_columns)
        if metadata.schema.column(place).path in names
    )
    for chunk in chunks:
        starts = [start for start in (chunk.dictionary_page_offset, chunk.data_page_offset) if start]
        place, end = min(starts, default=0), min(starts, default=0) + chunk.total_compressed_size
        if not 0 <= place <= end <= len(content):
            raise ValueError("not Parquet that can be read: a column is outside of the file")
        while place < end:
            fields, after = _read_struct(content, place)
            size += max(0, fields.get(_UNCOMPRESSED_SIZE, 0))
            header_bytes += after - place
            if size > MAX_EVENTS_BYTES or header_bytes > MAX_PAGE_HEADERS:
                headers = f"headers of pages of more than {MAX_PAGE_HEADERS >> 20} MiB"
                raise ValueError(f"more than {MAX_EVENTS_BYTES >> 20} MiB when decompressed, or {headers}")
            place = after + max(0, fields.get(_COMPRESSED_SIZE, 0))


def _read_struct(content: bytes, place: int, depth: int = 0) -> tuple[dict[int, int], int]:
    """Return the integers of a struct in Thrift's compact protocol, and the place after it.

    Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md

    Raises:
        ValueError: it is damaged, nested too deeply or longer than `MAX_PAGE_HEADERS`.
    """
    fields, number, first = dict[int, int](), 0, place
    if depth > _MAX_DEPTH:
        raise ValueError("not Parquet that can be read: the header of a page is nested too deeply")
    try:
        while kind := content[place] & 15:
            step, place = content[place] >> 4, place + 1
            if not step:
                value, place = _varint(content, place)
                number = (value >> 1) ^ -(value & 1)
            number += step
            if kind in _INTEGERS:
                value, place = _varint(content, place)
                fields[number] = (value >> 1) ^ -(value & 1)
            else:
                place = _skip(content, place, kind, depth)
            if place - first > MAX_PAGE_HEADERS:
                raise ValueError("not Parquet that can be read: the header of a page is too large")
    except IndexError as error:
        raise ValueError("not Parquet that can be read: the header of a page is cut off") from error
    return fields, place + 1


def _skip(content: bytes, place: int, kind: int, depth: int) -> int:
    """Return the place after a value that is not an integer. Raises ValueError and IndexError."""
    if kind == _STRUCT:
        return _read_struct(content, place, depth + 1)[1]
    if kind == _BINARY:
        length, place = _varint(content, place)
        return place + length
    if kind in _SIZES:
        return place + _SIZES[kind]
    raise ValueError(f"not Parquet that can be read: the header of a page has a value of type {kind}")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return an unsigned integer of seven bits a byte, and the place after it. Raises ValueError and IndexError."""
    value = 0
    for shift in range(0, 64, 7):
        byte, place = content[place], place + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("not Parquet that can be read: an integer in the header of a page is too long")


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
