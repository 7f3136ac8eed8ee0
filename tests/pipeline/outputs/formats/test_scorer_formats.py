"""Formats of scorers and of bioacoustics: RTTM, DCASE tables, ActivityNet and Raven, in other readers and of others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats.read_folders import read_event_files
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events, write_events
from avvp.pipeline.outputs.postprocess import with_audio_visual
from avvp.pipeline.timeline import Event, Timeline
from pyannote.database.util import load_rttm
from support.command import Result

EVENTS = [
    Event("audio", "Dog", 0.5, 2, 0.75),
    Event("visual", "Dog", 1, 3, 0.5),
    Event("audio", "Fire alarm", 4, 5.25, 1),
]
TIMELINE = Timeline.of_events(with_audio_visual(EVENTS), path="/films/my clip.mp4", duration=9.0)
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def write(form: str, folder: Path) -> list[Path]:
    paths = FORMATS[form].files(folder / "clip")
    write_events(TIMELINE, FORMATS[form], paths)
    return paths


def read(name: str, text: str, folder: Path) -> list[Timeline]:
    (folder / name).write_text(text)
    return read_events(folder / name)


def events(timeline: Timeline) -> list[tuple[str, str, float, float, float]]:
    return [(e.modality, e.label, e.onset, e.offset, e.score) for e in timeline.events if e.modality != "audio_visual"]


def refusal(name: str, text: str, folder: Path) -> str:
    with pytest.raises(FormatError, match=name) as error:
        read(name, text, folder)
    return str(error.value)


def test_rttm_in_another_reader(tmp_path: Path) -> None:
    audio, visual = write("rttm", tmp_path)
    found = {
        path: [
            (span.start, span.end, label) for span, _, label in load_rttm(path)["my_clip"].itertracks(yield_label=True)
        ]
        for path in (audio, visual)
    }
    assert found == {audio: [(0.5, 2, "Dog"), (4, 5.25, "Fire_alarm")], visual: [(1, 3, "Dog")]}


def test_rttm_of_others(tmp_path: Path) -> None:
    """Several files, missing scores and fields, other types of lines, comments."""
    lines = [
        ";; made by hand", "SPKR-INFO one 1 <NA> <NA> <NA> unknown Dog <NA> <NA>",
        "SPEAKER one 1 0.1 0.2 <NA> <NA> Dog",
        "SPEAKER two A 1.5 2 <NA> <NA> Cat <NA> <NA>", "", "SPEAKER one 1 3 1 <NA> <NA> Dog 0.5",
        "LEXEME one 1 0 1 hello lex Dog 1 <NA>", "SPEAKER one 1 5 0.000 <NA> <NA> Dog <NA> <NA>",
        "\tSPEAKER  <NA> 1 0 1 <NA> <NA> <NA> <NA> <NA>",
    ]  # fmt: skip
    one, two, rest = read("all.rttm", "\r\n".join(lines), tmp_path)
    assert (one.name, two.name, rest.name) == ("one", "two", "all")
    assert events(one) == [("audio", "Dog", 0.1, 0.3, 1), ("audio", "Dog", 3, 4, 0.5)]
    assert events(two) == [("audio", "Cat", 1.5, 3.5, 1)]
    assert events(rest) == [("audio", "", 0, 1, 1)]
    assert one.warnings == two.warnings == (
        "all.rttm: lines of other types than SPEAKER are left out: 2",
        "all.rttm: lines without a duration are left out: 1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SPEAKER x 1 0 1", "audio.rttm, line 1: 5 fields, expected at least 8"),
        ("SPEAKER x 1 0 -1 <NA> <NA> Dog", "line 1: [0.0, -1.0) is not an interval"),
        ("SPEAKER x 1 0 1,5 <NA> <NA> Dog", "line 1: '1,5' is not a number"),
        ("SPEAKER x 1 0 1 <NA> <NA> Dog 2", "line 1: score 2.0 is not a probability"),
    ],
)
def test_rttm_that_is_refused(line: str, said: str, tmp_path: Path) -> None:
    assert said in refusal("x.audio.rttm", line, tmp_path)


def test_rttm_files_of_a_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("SPEAKER one 1 0 1 <NA> <NA> Dog\n")
    (tmp_path / "b.audio.rttm").write_text("SPEAKER two 1 0 1 <NA> <NA> Dog\n")
    (tmp_path / "b.visual.rttm").write_text("SPEAKER two 1 0 1 <NA> <NA> Dog\n")
    found = read_event_files([tmp_path])
    assert {name: len(timeline.events) for name, timeline in found.timelines.items()} == {"one": 1, "two": 3}


def test_dcase_in_another_reader(tmp_path: Path) -> None:
    audio, visual = (pd.read_csv(path, sep="\t") for path in write("dcase", tmp_path))
    assert list(audio.columns) == ["filename", "onset", "offset", "event_label"]
    assert [tuple(row) for row in audio.itertuples(index=False)] == [
        ("my clip", 0.5, 2, "Dog"), ("my clip", 4, 5.25, "Fire alarm"),
    ]  # fmt: skip
    assert [tuple(row) for row in visual.itertuples(index=False)] == [("my clip", 1, 3, "Dog")]


def test_dcase_of_others(tmp_path: Path) -> None:
    """Clips in which nothing happens, as DESED lists them; other columns; a file for sounds alone."""
    rows = "event_label\tonset\toffset\tfilename\tmore\nDog\t0,5\t1\tb.wav\tx\n\t\t\ta.wav\t\nCat\t2\t3\tb.wav\t\n"
    one, two = read("validation.dcase.tsv", rows, tmp_path)
    assert (one.name, two.name) == ("b", "a")
    assert events(one) == [("audio", "Dog", 0.5, 1, 1), ("audio", "Cat", 2, 3, 1)]
    assert events(two) == []
    head = "filename\tonset\toffset\tevent_label\n"
    assert " audio.dcase.tsv:2: '' is not a number" in refusal("x.audio.dcase.tsv", f"{head}a\t0\t\tDog\n", tmp_path)
    assert "has no column event_label" in refusal("x.dcase.tsv", "filename\tonset\toffset\n", tmp_path)


def test_activitynet_documents(tmp_path: Path) -> None:
    """The keys that the evaluation of ActivityNet asks for."""
    audio, visual = (json.loads(path.read_text()) for path in write("activitynet", tmp_path))
    assert set(audio) == {"version", "results", "external_data"}
    assert audio["results"] == {
        "my clip": [
            {"label": "Dog", "score": 0.75, "segment": [0.5, 2]},
            {"label": "Fire alarm", "score": 1, "segment": [4, 5.25]},
        ]
    }  # fmt: skip
    assert visual["results"] == {"my clip": [{"label": "Dog", "score": 0.5, "segment": [1, 3]}]}


def test_activitynet_annotations(tmp_path: Path) -> None:
    annotations = [{"segment": [0, 1.5], "label": "Running", "more": 1}]
    database = {
        "v_one": {"duration": 9.5, "subset": "training", "annotations": annotations}, "v_two": {"annotations": []},
    }  # fmt: skip
    one, two = read("activity_net.v1-3.activitynet.json", json.dumps({"database": database, "taxonomy": []}), tmp_path)
    assert (one.name, two.name, one.media["duration"], one.length_known, two.length_known) == (
        "v_one",
        "v_two",
        9.5,
        True,
        False,
    )
    assert events(one) == [("visual", "Running", 0, 1.5, 1)]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], 'expected an object with "results" or "database"'),
        ({"results": {"x": {"annotations": 1}}}, "'x': expected a list of segments"),
        ({"results": {"x": [{"label": "Dog", "segment": [1]}]}}, "has no label and no segment of two times"),
        ({"results": {"x": [{"label": "Dog", "segment": [2, 1]}]}}, "'x': [2.0, 1.0) is not an interval"),
        ({"results": {"x": [{"label": "Dog", "segment": [1, "2"]}]}}, "'x': a time is '2', expected a number"),
        ({"results": {"x": [{"label": "Dog", "segment": [1, 2], "score": 3}]}}, "'x': score 3.0 is not a probability"),
        ({"database": {"x": {"duration": "9"}}}, "a duration is '9', expected a number"),
        ({"database": {"x": {"duration": -1}}}, "the duration of a clip is negative"),
    ],
)
def test_activitynet_that_is_refused(document: Any, said: str, tmp_path: Path) -> None:
    assert said in refusal("x.visual.activitynet.json", json.dumps(document), tmp_path)


def test_raven_in_another_reader(tmp_path: Path) -> None:
    (path,) = write("raven", tmp_path)
    rows = list(csv.DictReader(io.StringIO(path.read_text()), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert list(rows[0])[:7] == RAVEN.split("\t")
    assert [row["Selection"] for row in rows] == ["1", "2", "3"]
    frame = pd.read_csv(path, sep="\t")
    columns = ["Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Class", "Score", "Modality"]
    assert [tuple(row) for row in frame[columns].itertuples(index=False)] == [
        (0.5, 2, 0, 8000, "Dog", 0.75, "audio"), (1, 3, 0, 8000, "Dog", 0.5, "visual"),
        (4, 5.25, 0, 8000, "Fire alarm", 1, "audio"),
    ]  # fmt: skip


def test_raven_tables_of_annotators(tmp_path: Path) -> None:
    """Two views of a selection, a column with a name of their own, the name that Raven gives the file."""
    rows = [
        f"{RAVEN}\tAnnotation", "1\tWaveform 1\t1\t0.5\t1.25\t0\t4000\tWren",
        "1\tSpectrogram 1\t1\t0.5\t1.25\t0\t4000\tWren",
        "2\tSpectrogram 1\t1\t2\t2\t0\t4000\tpoint", "3\tSpectrogram 1\t1\t2\t3\t0\t4000\tRobin",
        "4\tSpectrogram 1\t1\t2\t3\t0\t4000\tRobin",
    ]  # fmt: skip
    (back,) = read("dawn.Table.1.selections.txt", "\r\n".join(rows) + "\r\n", tmp_path)
    assert back.name == "dawn"
    robin = ("audio", "Robin", 2, 3, 1)
    assert events(back) == [("audio", "Wren", 0.5, 1.25, 1), robin, robin]
    assert back.warnings == ("dawn.Table.1.selections.txt: selections without a duration are left out: 1",)
    text = f"{RAVEN}\tSpecies\tBegin File\n1\tS\t1\t0\t1\t0\t1\tWren\ta.wav\n2\tS\t1\t0\t1\t0\t1\tWren\tb.wav\n"
    assert [timeline.name for timeline in read("all.selections.txt", text, tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Selection\tClass\n", "has no column begin time (s), end time (s)"),
        (f"{RAVEN}\n", "has no column with classes; expected one of class, annotation, species, label, tags"),
        (f"{RAVEN}\tClass\n1\tS\t1\t2\t1\t0\t1\tDog\n", "line 2: [2.0, 1.0) is not an interval"),
        (f"{RAVEN}\tClass\tModality\n1\tS\t1\t0\t1\t0\t1\tDog\ttouch\n", "line 2: modality 'touch' is not audio"),
        (f"{RAVEN}\tClass\n1\tS\n", "line 2: 2 columns, expected 8"),
    ],
)
def test_raven_that_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal("x.selections.txt", text, tmp_path)


@pytest.mark.parametrize(
    "form", ["rttm", "dcase", "activitynet", "raven", "label-studio", "otio", "ffmetadata", "parquet"]
)
def test_there_and_back_on_the_command_line(form: str, run: Callable[..., Result], tmp_path: Path) -> None:
    write_events(TIMELINE, FORMATS["json"], [tmp_path / "clip.json"])
    assert run("convert", tmp_path / "clip.json", "-f", form, "-o", tmp_path / "made").status == 0
    made = FORMATS[form].files(tmp_path / "made")
    if len(made) == 1:
        made[0] = (tmp_path / "made").rename(made[0])
    assert run("convert", made[0], "-o", tmp_path / "back.csv").status == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "back.csv").read_text())))
    alarm = {"rttm": "Fire_alarm"}.get(form, "Fire alarm")
    assert [(row["modality"], row["label"], row["onset"], row["offset"]) for row in rows] == [
        ("audio", "Dog", "0.5", "2.0"), ("audio_visual", "Dog", "1.0", "2.0"), ("visual", "Dog", "1.0", "3.0"),
        ("audio", alarm, "4.0", "5.25"),
    ]  # fmt: skip
