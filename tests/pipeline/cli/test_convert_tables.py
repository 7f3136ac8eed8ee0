"""`avvp convert FOLDER -o all.csv`: one table of many timelines."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.cli.options.event_outputs import read_timelines
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.postprocess import NO_REFINEMENT
from avvp.pipeline.timeline import Event, SegmentProbabilities, Timeline
from support.command import Run

DOG = Event("audio", "Dog", 0.0, 2.0, 0.6)
CAR = Event("visual", "Car", 1.5, 9.0, 0.75)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "events"
    place.mkdir()
    for name, events in (("one", [DOG]), ("two", [DOG, CAR]), ("empty", [])):
        timeline = Timeline.of_events(events, path=f"{name}.mp4", duration=10.0, labels=("Dog", "Car"))
        (place / f"{name}.events.json").write_bytes(FORMATS["json"].write(timeline)[0])
    return place


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_text_tables(run: Run, folder: Path, tmp_path: Path, suffix: str, delimiter: str) -> None:
    table = tmp_path / f"all.{suffix}"
    result = run("convert", folder, "-o", table)
    assert result.status == 0, result.err
    assert result.err == f"{table}: 3 timelines, 3 events\n"
    rows = list(csv.reader(io.StringIO(table.read_text()), delimiter=delimiter))
    assert rows[1:] == [
        ["one", "audio", "Dog", "0.0", "2.0", "0.6"],
        ["two", "audio", "Dog", "0.0", "2.0", "0.6"],
        ["two", "visual", "Car", "1.5", "9.0", "0.75"],
    ]
    assert {timeline.name: timeline.events for timeline in read_events(table)} == {"one": (DOG,), "two": (DOG, CAR)}


def test_parquet_by_another_reader(run: Run, folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("convert", folder, "-f", "csv,parquet", "-o", tmp_path / "all.parquet", "-q").status == 0
    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [(row["file"], row["label"], row["onset"]) for row in rows] == [
        ("one", "Dog", 0.0), ("two", "Dog", 0.0), ("two", "Car", 1.5),
    ]  # fmt: skip
    assert (tmp_path / "all.csv").is_file()


def test_events_are_post_processed_and_printed(run: Run, folder: Path) -> None:
    result = run("convert", folder, "-f", "csv", "--min-score", "0.7")
    assert result.out.splitlines()[1:] == ["two,visual,Car,1.5,9.0,0.75"]


@pytest.mark.parametrize("arguments", [("-f", "json"), ("-f", "csv,json"), ("-f", "srt"), ()])
def test_formats_that_hold_one_timeline_are_refused(
    run: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = run("convert", folder, *arguments, "-o", tmp_path / "all")
    assert result.status == 2
    assert (
        "3 timelines need --output-dir or --data-set; one file of many timelines is a table: -f csv, tsv" in result.err
    )
    assert list(tmp_path.glob("all*")) == []


def test_an_input_is_not_overwritten(run: Run, folder: Path) -> None:
    table = folder / "old.csv"
    table.write_text("file,modality,label,onset,offset,score\nx,audio,Dog,0,1,1\n")
    assert "is an input" in run("convert", folder, "-o", table).err
    assert "x,audio" in table.read_text()


def test_probabilities_are_not_kept_for_tables(tmp_path: Path) -> None:
    """An hour has 90,000 of them and each modality; twenty timelines take less than three with them."""
    values = np.full((3600, 25), 0.25, np.float32)
    means = np.full((3600, 25), 0.25, np.float32)
    for index in range(20):
        media = {"path": f"{index}.mp4", "duration": 3600.0}
        labels = tuple(f"class {number}" for number in range(25))
        probabilities = SegmentProbabilities(values, values, means, means)
        timeline = Timeline((), labels, probabilities, media, {})
        (tmp_path / f"{index}.events.json").write_bytes(FORMATS["json"].write(timeline)[0])

    def kept(*, events_only: bool) -> int:
        tracemalloc.start()
        events = read_timelines([tmp_path], NO_REFINEMENT, quiet=True, events_only=events_only)
        assert len(events.timelines) == 20
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size

    assert 5 * kept(events_only=True) < kept(events_only=False)
