"""`avvp find` through the command line: files and folders, formats, errors, memory."""

from __future__ import annotations

import csv
import io
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from avvp.pipeline.outputs.formats.read_folders import EventFiles, each_timeline
from avvp.pipeline.outputs.formats.registry import FORMATS
from avvp.pipeline.outputs.search.query import Condition, Query
from avvp.pipeline.outputs.search.search import search
from avvp.pipeline.timeline import Event, Timeline
from support.command import Run

LABELS = ("Dog", "Car", "Speech", "Vacuum_cleaner", "Rain")
CLIPS = {
    "one": [Event("audio", "Dog", 1.0, 4.0, 0.9), Event("visual", "Car", 2.0, 6.0, 0.7)],
    "two": [Event("audio", "Dog", 0.0, 0.5, 0.95), Event("visual", "Vacuum_cleaner", 5.0, 9.0, 0.8)],
    "three": [],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "events"
    place.mkdir()
    for name, events in CLIPS.items():
        timeline = Timeline.of_events(events, path=f"{name}.mp4", duration=10.0, labels=LABELS)
        (place / f"{name}.events.json").write_bytes(FORMATS["json"].write(timeline)[0])
    return place


def rows(text: str) -> list[tuple[str, ...]]:
    return [(row["file"], row["onset"], row["label"]) for row in csv.DictReader(io.StringIO(text))]


def test_a_table_to_read_with_the_count_below(run: Run, folder: Path) -> None:
    result = run("find", folder, "--audio", "dog", "--sort", "score")
    assert result.status == 0
    lines = [line.split() for line in result.out.splitlines() if "audio Dog" in line]
    assert lines == [
        ["two", "0:00.0", "0:00.5", "0.5", "0.95", "audio", "Dog"],
        ["one", "0:01.0", "0:04.0", "3.0", "0.90", "audio", "Dog"],
    ]
    assert result.out.endswith("2 matches in 2 of 3 timelines\n")
    assert not result.err


def test_conditions_at_the_same_time_as_json(run: Run, folder: Path) -> None:
    document = json.loads(run("find", folder, "--audio", "Dog", "--visual", "Car", "-f", "json", "-q").out)
    assert [(m["file"], m["onset"], m["offset"], m["score"]) for m in document["matches"]] == [("one", 2.0, 4.0, 0.7)]
    assert document["matches"][0]["source"] == str(folder / "one.events.json")


def test_any_class_csv_by_suffix_and_its_use_as_events(run: Run, folder: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.csv"
    result = run("find", folder, "--class", "vacuum cleaner", "--audio", "Dog", "--any", "-o", found)
    assert (result.status, result.out) == (0, "")
    assert result.err == f"3 matches in 2 of 3 timelines\nwrote {found}\n"
    assert rows(found.read_text()) == [
        ("one", "1.0", "Dog"), ("two", "0.0", "Dog"), ("two", "5.0", "Vacuum_cleaner"),
    ]  # fmt: skip
    again = run("find", found, "--audio", "Dog", "-f", "csv", "-q")
    assert rows(again.out) == [("one", "1.0", "Dog"), ("two", "0.0", "Dog")]


def test_least_score_duration_and_limit(run: Run, folder: Path) -> None:
    assert rows(run("find", folder, "--min-score", "0.85", "--min-duration", "1", "-f", "csv").out) == [
        ("one", "1.0", "Dog")
    ]
    limited = run("find", folder, "--sort", "duration", "--limit", "1")
    assert "4 matches in 2 of 3 timelines, 1 shown" in limited.out


def test_no_match_is_said_and_no_error(run: Run, folder: Path) -> None:
    result = run("find", folder, "--audio", "rain")
    assert (result.status, result.out) == (0, "no matches in 3 timelines\n")
    assert run("find", folder, "--audio", "Rain", "-f", "csv").err == "no matches in 3 timelines\n"


def test_an_unknown_class_names_the_nearest(run: Run, folder: Path) -> None:
    result = run("find", folder, "--visual", "vacum cleaner")
    assert (result.status, result.out) == (2, "")
    assert "no file has a class 'vacum cleaner'; the nearest: Vacuum_cleaner" in result.err


def test_usage(run: Run, folder: Path) -> None:
    assert run("find", folder, "--any", "--audio", "Dog").status == 2
    assert run("find", folder / "none").status == 2
    assert run("find", folder, "--min-score", "nan").status == 2
    one = folder / "one.events.json"
    content = one.read_bytes()
    result = run("find", one, "-o", one)
    assert (result.status, one.read_bytes()) == (2, content)
    assert "is an input" in result.err


def test_files_that_are_no_events_are_noted_in_folders_and_errors_alone(run: Run, folder: Path) -> None:
    broken = folder / "broken.json"
    broken.write_text("{}")
    result = run("find", folder, "--audio", "Dog")
    assert result.status == 0
    assert "left out" in result.err
    assert run("find", broken).status == 2


def test_a_text_has_a_thousand_rows_unless_more_are_asked_for(run: Run, tmp_path: Path) -> None:
    lines = [f"x,audio,Dog,{number},{number + 0.5},0.5" for number in range(1_100)]
    (tmp_path / "x.csv").write_text("\n".join(["file,modality,label,onset,offset,score", *lines]))
    for more, shown in (((), 1_000), (("--limit", "1050"), 1_050)):
        result = run("find", tmp_path / "x.csv", *more)
        assert result.out.count("audio Dog") == shown
        assert f"1,100 matches in 1 of 1 timeline, {shown:,} shown" in result.out
    assert len(rows(run("find", tmp_path / "x.csv", "-f", "csv").out)) == 1_100


def test_hostile_names_are_text(run: Run, tmp_path: Path) -> None:
    name = os.fsdecode(b"\x1b[31mred\n\xff.csv")
    (tmp_path / name).write_text("file,modality,label,onset,offset,score\r\n,audio,\x1b]0;x\x07,0,1,1\r\n")
    for form in ("text", "csv", "json"):
        result = run("find", tmp_path / name, "-f", form)
        assert result.status == 0, result.err
        assert "\x1b" not in result.out
        assert "\x07" not in result.out
    assert len(run("find", tmp_path / name, "-f", "csv").out.splitlines()) == 2


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """A file of 2,000 events takes megabytes while it is read; forty take no more than four."""
    for index in range(40):
        lines = [f"x{index},audio,Dog,{n},{n + 0.5},0.{n % 10}" for n in range(2_000)]
        content = "\n".join(["file,modality,label,onset,offset,score", *lines])
        (tmp_path / f"x{index}.csv").write_text(content)
    files = sorted(tmp_path.iterdir())
    query = Query((Condition("Dog"),), min_score=0.9)

    def peak(paths: list[Path]) -> int:
        tracemalloc.start()
        result = search(each_timeline(paths, EventFiles()), query, order="score", limit=5)
        assert result.total == 200 * len(paths)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(files) < 1.3 * peak(files[:4])


def test_two_timelines_of_one_name_are_not_joined_in_a_table(run: Run, tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        timeline = Timeline.of_events(CLIPS["one"], path="one.mp4", duration=10.0, labels=LABELS)
        (tmp_path / place / "one.json").write_bytes(FORMATS["json"].write(timeline)[0])
    folders = (tmp_path / "a", tmp_path / "b")
    refused = run("find", *folders, "--audio", "Dog", "-f", "csv")
    assert refused.status == 2
    assert "two timelines are called one; -f json keeps them apart" in refused.err
    assert len(json.loads(run("find", *folders, "--audio", "Dog", "-f", "json").out)["matches"]) == 2
