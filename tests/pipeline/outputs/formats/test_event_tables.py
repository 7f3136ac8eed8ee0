"""Tables of many timelines, and Parquet: its types, other programs that write it, limits and a missing package."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from avvp.pipeline.errors import FormatError, SetupError
from avvp.pipeline.outputs.formats import csv_tsv, parquet
from avvp.pipeline.outputs.formats.event_tables import TABLES, write_table
from avvp.pipeline.outputs.formats.registry import FORMATS, Format, read_events
from avvp.pipeline.outputs.formats.targets import parse_formats
from avvp.pipeline.timeline import Event, Timeline
from pyarrow import parquet as pq
from support.command import Result

DOG = Event("audio", "Dog", 0.1, 2.5, 0.123456789)
CAR = Event("visual", "Car", 1, 2, 1)
ONE, TWO, NONE = (
    Timeline.of_events(events, path=f"{name}.mp4", duration=9.0)
    for name, events in (("one", [DOG, CAR]), ("two", [CAR]), ("none", []))
)
ROWS = [
    ("one", "audio", "Dog", 0.1, 2.5, 0.123457),
    ("one", "visual", "Car", 1, 2, 1),
    ("two", "visual", "Car", 1, 2, 1),
]


def read(content: bytes, folder: Path, suffix: str = "parquet") -> dict[str, tuple[Event, ...]]:
    (folder / f"all.{suffix}").write_bytes(content)
    return {timeline.name: timeline.events for timeline in read_events(folder / f"all.{suffix}")}


def rows_of(timelines: dict[str, tuple[Event, ...]]) -> list[tuple[Any, ...]]:
    """The rows of the table that the events were read from."""
    return [
        (file, event.modality, event.label, event.onset, event.offset, event.score)
        for file, events in timelines.items()
        for event in events
    ]


def refusal(content: bytes, folder: Path) -> str:
    with pytest.raises(FormatError, match=r"all\.parquet: ") as error:
        read(content, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def table(**columns: Any) -> bytes:
    """A table of one row with other columns than it should have; None leaves one out."""
    given = {"file": ["a"], "modality": ["audio"], "label": ["Dog"], "onset": [0.0], "offset": [1.0], "score": [0.5]}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({key: value for key, value in {**given, **columns}.items() if value is not None}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("suffix", TABLES)
def test_the_events_of_many_timelines(suffix: str, tmp_path: Path) -> None:
    content = write_table({"one": ONE, "two": TWO, "none": NONE}, suffix)
    assert content == write_table([ONE, TWO, NONE], suffix)
    assert rows_of(read(content, tmp_path, suffix)) == ROWS
    assert FORMATS[suffix].write(ONE) == [write_table([ONE], suffix)]


def test_tables_of_text_are_read_by_the_csv_module() -> None:
    rows = list(csv.reader(io.StringIO(write_table([ONE, TWO], "csv").decode()), strict=True))
    assert rows == [list(map(str, row)) for row in (tuple(csv_tsv.COLUMNS), *ROWS)]
    assert rows[0] == ["file", "modality", "label", "onset", "offset", "score"]


def test_the_names_in_the_table_are_those_of_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_bytes(write_table({"one.mp4": ONE, "one.mkv": ONE}, "csv"))
    assert [timeline.media["path"] for timeline in read_events(tmp_path / "all.csv")] == ["one.mp4", "one.mkv"]
    with pytest.raises(ValueError, match="two timelines are called 'one'"):
        write_table([ONE, ONE], "csv")
    with pytest.raises(ValueError, match="unknown table format 'json'; known: csv, tsv, parquet"):
        write_table([ONE], "json")


def test_parquet_in_other_readers(tmp_path: Path) -> None:
    (tmp_path / "all.parquet").write_bytes(write_table([ONE, TWO], "parquet"))
    relation = duckdb.read_parquet(str(tmp_path / "all.parquet"))
    assert list(zip(relation.columns, map(str, relation.types), strict=True)) == [
        ("file", "VARCHAR"), ("modality", "VARCHAR"), ("label", "VARCHAR"), ("onset", "DOUBLE"), ("offset", "DOUBLE"),
        ("score", "DOUBLE"),
    ]  # fmt: skip
    assert relation.fetchall() == ROWS
    frame = pd.read_parquet(tmp_path / "all.parquet")
    assert [tuple(row) for row in frame.itertuples(index=False)] == ROWS


def test_parquet_of_other_writers(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(write_table([ONE, TWO], "parquet"))
    given = duckdb.read_parquet(str(tmp_path / "a.parquet"))
    numbers = 'onset::DECIMAL(9, 3) AS onset, "offset"::FLOAT AS "offset", 3 AS more'
    given.project(f'file, modality, label AS "Label", {numbers}').write_parquet(
        str(tmp_path / "b.parquet"), compression="zstd"
    )
    frame = pd.read_parquet(tmp_path / "a.parquet")
    frame["label"] = frame["label"].astype("category")
    frame["score"] = None
    frame.to_parquet(tmp_path / "c.parquet")
    for name in ("b.parquet", "c.parquet"):
        back = read((tmp_path / name).read_bytes(), tmp_path)
        assert rows_of(back) == [(*row[:5], 1) for row in ROWS]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not Parquet that can be read"),
        (b"PAR1" * 3, "not Parquet that can be read"),
        (table()[:-20] + b"x" * 16 + b"PAR1", "not Parquet that can be read"),
        (table(label=None, onset=None), "has no column label, onset; expected modality, label, onset, offset"),
        (table(onset=["0"]), "the column onset has no numbers, its type is string"),
        (table(onset=[None]), "row 1: onset is empty"),
        (table(onset=[float("nan")]), "row 1: [nan, 1.0) is not an interval"),
        (table(offset=[-1.0]), "row 1: [0.0, -1.0) is not an interval"),
        (table(offset=[1e9]), "more than 24 hours"),
        (table(score=[2.0]), "row 1: score 2.0 is not a probability"),
        (table(modality=["touch"]), "row 1: modality 'touch' is not one of"),
        (table(modality=[None]), "row 1: modality 'none' is not one of"),
        (table(label=[1]), "the column label has no text, its type is int64"),
        (table(label=[["Dog"]]), "has no column label"),
        (table(label=pa.array([b"\xff"])), "Invalid UTF8"),
        (table(label=["x" * 1_001]), "the column label has a text of 1,001 characters, more than 1,000"),
        (table(file=["x" * 5_000]), "the column file has a text of 5,000 characters"),
        (table(**{f"c{number}": [0] for number in range(1_000)}), "more than 1,000 columns"),
    ],
)  # fmt: skip
def test_parquet_that_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    assert said in refusal(content, tmp_path)


def test_parquet_beyond_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_table([ONE, TWO], "parquet")
    for limit, said in (
        ("MAX_EVENTS", "more than 2 rows"),
        ("MAX_ROW_GROUPS", "0 groups"),
        ("MAX_EVENTS_BYTES", "more than 0 MiB when decompressed"),
        ("MAX_PAGE_HEADERS", "the header of a page is too large"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(parquet, limit, 2 if limit == "MAX_EVENTS" else 0)
            assert said in refusal(content, tmp_path)
    assert len(read(content, tmp_path)) == 2


def test_pages_that_are_larger_than_the_footer_states(tmp_path: Path) -> None:
    """A page of 200 MiB, of which the file holds some kB, behind a footer that states two bytes."""
    sink = pa.BufferOutputStream()
    columns = {**pq.read_table(pa.BufferReader(table())).to_pydict(), "label": ["x" * (200 << 20)]}
    pq.write_table(pa.table(columns), sink, compression="zstd", use_dictionary=False, write_statistics=False)
    content = sink.getvalue().to_pybytes()
    stated = size_of_labels(content)
    integer = bytes([*((stated << 1 >> shift) & 127 | 128 for shift in (0, 7, 14, 21)), stated << 1 >> 28])  # of Thrift
    lying = content.replace(integer, b"\x84\x80\x80\x80\x00")
    assert (stated > 200 << 20, size_of_labels(lying), len(content) < 100_000) == (True, 2, True)
    for file in (content, lying):
        assert "more than 160 MiB when decompressed" in refusal(file, tmp_path)


def size_of_labels(content: bytes) -> int:
    return pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(2).total_uncompressed_size


def test_one_long_text_of_many_rows_takes_memory_once(tmp_path: Path) -> None:
    """100,000 rows with a file name of 4,000 characters would be 400 MB, from a file of a few kB."""
    rows = 100_000
    file = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 4_000])
    texts = {"file": file, "modality": ["audio"] * rows, "label": ["Dog"] * rows}
    sink = pa.BufferOutputStream()
    columns = {**texts, "onset": [0.0] * rows, "offset": [1.0] * rows}
    pq.write_table(pa.table(columns), sink, store_schema=False)  # nothing says that it was a dictionary
    before = pa.default_memory_pool().max_memory()
    assert "longer than systems allow" in refusal(sink.getvalue().to_pybytes(), tmp_path)
    assert len(sink.getvalue()) < 100_000
    assert pa.default_memory_pool().max_memory() - before < 50e6


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Format, "is_installed", property(lambda form: form.name != "parquet"))


@pytest.mark.usefixtures("without_pyarrow")
def test_without_the_package(run: Callable[..., Result], tmp_path: Path) -> None:
    """All formats are those that are installed; one that is named says what to install."""
    source = tmp_path / "clip.json"
    source.write_bytes(FORMATS["json"].write(ONE)[0])
    result = run("convert", source, "-f", "all", "-o", tmp_path / "out")
    left_out, *written = result.err.splitlines()
    assert (result.status, left_out) == (0, "left out: parquet; install it with: pip install 'avvp[table]'")
    assert all(line.startswith("wrote ") and "parquet" not in line for line in written)
    assert (tmp_path / "out.csv").exists()
    assert not (tmp_path / "out.parquet").exists()
    assert "parquet" not in {form.name for form in parse_formats(["all"])}
    folder = tmp_path / "folder"
    result = run("convert", source, "-f", "all", "--output-dir", folder)
    assert (result.status, result.err.splitlines()[0]) == (
        0,
        "left out: parquet; install it with: pip install 'avvp[table]'",
    )
    assert not list(folder.glob("*.parquet"))
    needs = "the format parquet needs pyarrow; install it with: pip install 'avvp[table]'"
    for arguments in (("-f", "parquet", "-o", tmp_path / "x"), ("-o", tmp_path / "x.parquet")):
        result = run("convert", source, *arguments)
        assert (result.status, result.err.strip()) == (2, f"Error: {needs}")
    (tmp_path / "a.parquet").write_bytes(b"x")
    result = run("convert", tmp_path / "a.parquet", "-f", "csv")
    assert (result.status, result.err.strip()) == (2, f"Error: {tmp_path}/a.parquet: cannot be read: {needs}")
    with pytest.raises(SetupError, match="needs pyarrow"):
        write_table([ONE], "parquet")


def test_a_parquet_file_through_the_command_line(run: Callable[..., Result], tmp_path: Path) -> None:
    source = tmp_path / "clip.json"
    source.write_bytes(FORMATS["json"].write(ONE)[0])
    assert run("convert", source, "-o", tmp_path / "clip.parquet").status == 0
    result = run("convert", tmp_path / "clip.parquet", "-f", "csv")
    assert result.out.splitlines()[1] == "one,audio,Dog,0.1,2.5,0.123457"


@pytest.mark.parametrize("suffix", TABLES)
def test_comments_have_a_column_where_there_are_any(suffix: str, tmp_path: Path) -> None:
    noted = Timeline.of_events([replace(DOG, comment="far, away\n?")], path="noted.mp4")
    content = write_table([ONE, noted], suffix)
    back = read(content, tmp_path, suffix)
    assert [event.comment for event in back["noted"]] == ["far, away\n?"]
    assert [event.comment for event in back["one"]] == ["", ""]
    assert content.count(b"comment") > 0
    assert b"comment" not in write_table([ONE], suffix)
    assert rows_of(back)[:2] == ROWS[:2]
