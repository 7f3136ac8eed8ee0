"""`avvp convert` and `avvp report`, and the formats of `avvp parse`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.pseudo_labels import read_pseudo_labels
from avvp.pipeline.files import FAILURES_FILE
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.formats.targets import parse_formats, resolve_targets
from avvp.pipeline.outputs.postprocess import PostProcessing, merge_events, refine, with_audio_visual
from avvp.pipeline.timeline import Event, Timeline
from PIL import Image
from support.command import Result

EVENTS = [
    Event("audio", "Dog", 0, 1, 0.6), Event("audio", "Dog", 2, 4, 0.9), Event("audio", "Speech", 5, 9, 0.7),
    Event("visual", "Dog", 1, 5, 0.8), Event("audio_visual", "Dog", 2, 4, 0.75),
]  # fmt: skip


def write(folder: Path, name: str = "clip", events: list[Event] | None = None) -> Path:
    timeline = Timeline.of_events(events or EVENTS, path=f"{name}.mp4", duration=10.0, labels=("Dog", "Speech", "Cat"))
    path = folder / f"{name}.events.json"
    path.write_bytes(FORMATS["json"].write(timeline)[0])
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_where_results_go() -> None:
    def resolve(output: str, *formats: str) -> list[str]:
        targets = resolve_targets(Path(output), parse_formats(formats))
        return [str(path) for target in targets for path in target.paths]

    assert resolve("x") == ["x"]
    assert resolve("events.json") == ["events.json"]
    assert resolve("x.csv") == ["x.csv"]
    assert resolve("x.odd", "csv") == ["x.odd"]
    assert resolve("a/x.vtt") == ["a/x.audio.vtt", "a/x.visual.vtt"]
    assert resolve("x.events.json", "json,csv", "vtt") == [
        "x.events.json", "x.csv", "x.audio.vtt", "x.visual.vtt",
    ]  # fmt: skip
    assert resolve("x", "json,csv") == ["x.json", "x.csv"]
    assert resolve("x.eval_audio.csv", "llp") == ["x.eval_audio.csv", "x.eval_visual.csv"]
    everything = resolve("v.1.json", "all")
    assert len(everything) == len(set(everything)) == sum(len(form.suffixes) for form in FORMATS.values())
    assert all(path.startswith("v.1.") for path in everything)


def test_a_suffix_of_no_format_is_an_error(run: Callable[..., Result], tmp_path: Path) -> None:
    source = write(tmp_path)
    result = run("convert", source, "-o", tmp_path / "out.xlsx")
    assert result.status == 2
    assert f"{tmp_path / 'out.xlsx'}: no format has the suffix .xlsx; known: .TextGrid, .csv, .eaf, " in result.err
    assert names(tmp_path) == ["clip.events.json"]
    assert run("convert", source, "-f", "csv", "-o", tmp_path / "out.xlsx").err == f"wrote {tmp_path / 'out.xlsx'}\n"


def test_folders_are_made(run: Callable[..., Result], tmp_path: Path) -> None:
    source, deep = write(tmp_path), tmp_path / "a" / "b"
    result = run("convert", source, "-f", "csv,srt", "-o", deep / "x")
    assert result.err.splitlines() == [f"wrote {deep / name}" for name in ("x.csv", "x.audio.srt", "x.visual.srt")]
    assert run("convert", source, write(tmp_path, "other"), "-o", tmp_path / "c" / "all.csv").status == 0
    assert names(tmp_path / "c") == ["all.csv"]
    report = run("report", source, "--plot", tmp_path / "d" / "plot.svg")
    assert report.err.splitlines()[-1] == f"wrote {tmp_path / 'd' / 'plot.svg'}"
    found = run("find", source, "-o", tmp_path / "e" / "found.csv")
    assert found.err.splitlines()[-1] == f"wrote {tmp_path / 'e' / 'found.csv'}"
    (tmp_path / "file").touch()
    for command in (("convert", source, "-o"), ("report", source, "--html"), ("find", source, "-o")):
        refused = run(*command, tmp_path / "file" / "x.html", *(("-f", "csv") if command[0] == "convert" else ()))
        assert (refused.status, f"{tmp_path / 'file'}: is not a folder" in refused.err) == (2, True)


def test_convert_does_not_import_torch(tmp_path: Path) -> None:
    """Tables of other tables are made in the time that it takes to read them."""
    source, made = write(tmp_path), tmp_path / "x.csv"
    code = "import sys; from avvp.pipeline.cli.main import avvp; avvp.main(sys.argv[1:], standalone_mode=False)"
    code += "; print(*sys.modules)"
    command = [sys.executable, "-c", code, "convert", str(source), "-o", str(made)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert made.exists()
    assert not {"torch", "matplotlib", "rich"} & set(loaded)


def test_one_timeline_to_many_forms(run: Callable[..., Result], tmp_path: Path) -> None:
    source = write(tmp_path)
    assert run("convert", source, "-f", "all", "-o", tmp_path / "out").status == 0
    written = [path for path in names(tmp_path) if path.startswith("out.")]
    assert written == sorted(f"out.{suffix}" for form in FORMATS.values() for suffix in form.suffixes)
    result = run("convert", source, "-f", "csv")
    assert result.out.splitlines()[1] == "clip,audio,Dog,0.0,1.0,0.6"
    back = run("convert", tmp_path / "out.TextGrid", "-o", tmp_path / "back.csv")
    assert back.status == 0
    assert (tmp_path / "back.csv").read_text().splitlines()[1] == "out,audio,Dog,0.0,1.0,1.0"


def test_refinement_by_hand() -> None:
    """Dog: 1 s at 0.6, a second's pause, 2 s at 0.9: together 0.8, over four seconds."""
    merged = merge_events([event for event in EVENTS if event.modality == "audio"], 1.0)
    assert (merged[0].onset, merged[0].offset, round(merged[0].score, 9)) == (0, 4, 0.8)
    assert len(merged) == 2
    timeline = Timeline.of_events(EVENTS, path="x", duration=10.0)
    joined = refine(timeline, PostProcessing(merge_gap=1.0))
    assert [(e.onset, e.offset, round(e.score, 6)) for e in joined.events if e.modality == "audio_visual"] == [
        (1, 4, 0.8)
    ]
    kept = refine(timeline, PostProcessing(min_duration=2.0))
    assert [e.score for e in kept.events if e.modality == "audio_visual"] == [0.75]
    assert len(kept.events) == len(EVENTS) - 1
    assert kept.processing == ({"step": "refine", "min_duration": 2.0},)
    assert refine(timeline, PostProcessing()) is timeline
    assert not refine(timeline, PostProcessing(classes=("Speech",), min_score=0.71)).events


def test_audio_visual_events_are_recomputed() -> None:
    audio = [Event("audio", "Dog", 0, 3, 0.5), Event("audio", "Dog", 2, 6, 0.9), Event("audio", "Cat", 0, 9, 0.9)]
    visual = [Event("visual", "Dog", 1, 2.5, 0.6), Event("visual", "Dog", 5, 9, 0.4)]
    both = [event for event in with_audio_visual([*audio, *visual]) if event.modality == "audio_visual"]
    assert [(e.label, e.onset, e.offset) for e in both] == [("Dog", 1, 2.5), ("Dog", 5, 6)]
    assert [round(e.score, 6) for e in both] == [0.6, 0.4]


def test_refinement_is_recorded(run: Callable[..., Result], tmp_path: Path) -> None:
    source = write(tmp_path)
    options = ("--merge-gap", "1", "--min-score", "0.75", "--classes", "Dog,Speech")
    assert run("convert", source, *options, "-o", tmp_path / "tidy.json").status == 0
    document = json.loads((tmp_path / "tidy.json").read_text())
    assert document["processing"] == [
        {"step": "refine", "classes": ["Dog", "Speech"], "merge_gap": 1.0, "min_score": 0.75}
    ]
    assert [(e["modality"], e["onset"]) for e in document["events"]] == [
        ("audio", 0),
        ("audio_visual", 1),
        ("visual", 1),
    ]
    assert "unknown class Cow" in run("convert", source, "--classes", "Cow").err


def test_folders_of_results(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    for name in ("one", "two"):
        write(tmp_path / "events", name)
    (tmp_path / "events" / "notes.md").write_text("not events")
    (tmp_path / "events" / FAILURES_FILE).write_text("id,path,cause\n")
    common = ("convert", tmp_path / "events", "-f", "csv,audacity", "--output-dir", tmp_path / "tables")
    assert run(*common).status == 0
    assert names(tmp_path / "tables") == sorted(
        f"{name}.{suffix}" for name in ("one", "two") for suffix in ("csv", *FORMATS["audacity"].suffixes)
    )
    again = run(*common)
    assert again.status == 2
    assert "--overwrite" in again.err
    assert run(*common, "--overwrite").status == 0
    assert "two timelines are called one" in run("convert", tmp_path / "events", tmp_path / "tables", "-o", "-").err


def test_folders_without_refinement(run: Callable[..., Result], tmp_path: Path) -> None:
    """Several forms of the same timelines: JSON counts. Other files are left out, with a message."""
    folder = tmp_path / "events"
    folder.mkdir()
    for name in ("one", "abc_", "abc-"):
        write(folder, name)
        assert run("convert", folder / f"{name}.events.json", "-f", "all", "-o", folder / name).status == 0
        (folder / f"{name}.json").unlink()
    (folder / "package.json").write_text("{}")
    (folder / "README.txt").write_text("hello")
    result = run("convert", folder, "-f", "csv", "--output-dir", tmp_path / "tables")
    assert result.status == 0, result.err
    assert names(tmp_path / "tables") == ["abc-.csv", "abc_.csv", "one.csv"]
    assert "left out" in result.err
    assert "package.json" in result.err
    both = (folder / "one.audio.txt", folder / "one.visual.txt")
    assert run("convert", *both, "-f", "csv").status == 0
    before = (folder / "one.events.json").read_bytes()
    assert "is an input" in run("convert", folder, "-f", "json", "--output-dir", folder, "--overwrite").err
    assert (folder / "one.events.json").read_bytes() == before


def test_corrections_become_a_data_set(run: Callable[..., Result], tmp_path: Path) -> None:
    """What people corrected is what parsers are scored by and trained on."""
    (tmp_path / "corrected").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "corrected", name)
    common = ("convert", tmp_path / "corrected", "--data-set", tmp_path / "data")
    assert run(*common, "--split", "val").status == 0
    assert "a: already in another split" in run(*common, "--split", "train").err
    annotations = read_annotations(tmp_path / "data")
    assert annotations.labels == LLP_LABELS
    audio = annotations.modality_labels(annotations.split("val"), "audio", 10)
    assert np.flatnonzero(audio[1, :, LLP_LABELS.index("Dog")]).tolist() == [0, 2, 3]
    assert (
        run(
            "evaluate", "--timelines", tmp_path / "corrected", "--annotations", tmp_path / "data", "--split", "val"
        ).status
        == 0
    )
    assert "already exists" in run(*common, "--split", "val").err
    assert "another folder" in run(*common, "--split", "test").err


def test_corrections_to_learn_from(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "corrected").mkdir()
    own = [Event("audio", "Glass", 0, 2, 1.0), Event("visual", "Cup", 1, 3, 1.0)]
    timeline = Timeline.of_events(own, path="a.mp4", duration=4.0)
    (tmp_path / "corrected" / "a.csv").write_bytes(FORMATS["csv"].write(timeline)[0])
    common = ("convert", tmp_path / "corrected", "--data-set", tmp_path / "data", "--split", "train")
    assert "a: the length of the clip is unknown" in run(*common).err
    assert run(*common, "--seconds", "4").status == 0
    annotations = read_annotations(tmp_path / "data")
    assert annotations.labels == ("Cup", "Glass")
    assert not (tmp_path / "data" / "AVVP_eval_audio.csv").exists()
    table, problems = read_pseudo_labels(tmp_path / "data" / "pseudo_labels", "visual", ["a"], [4], 2)
    assert not problems
    assert table[0].tolist() == [[False, False], [True, False], [True, False], [False, False]]


@pytest.mark.parametrize(("clip", "label"), [("a", "Dog, barking"), ("a\tb", "Dog"), ("a", " ")])
def test_invalid_data_set_names_are_refused(run: Callable[..., Result], tmp_path: Path, clip: str, label: str) -> None:
    timeline = Timeline.of_events([Event("audio", label, 0, 1, 1.0)], path=f"{clip}.mp4", duration=2.0)
    (tmp_path / "x.json").write_bytes(FORMATS["json"].write(timeline)[0])
    result = run("convert", tmp_path / "x.json", "--data-set", tmp_path / "data", "--split", "val")
    assert result.status == 2
    assert "of a data set cannot be named" in result.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["{source}", "-f", "doc"], "unknown format 'doc'; known: json"),
        (["{source}", "-f", "ELAN"], "parquet, all; did you mean eaf?"),
        (["{source}", "-f", "label_studio"], "parquet, all; did you mean label-studio?"),
        (["{source}", "-f", "vtt"], "several files need a name"),
        (["{source}", "-f", "csv,tsv"], "several files need a name"),
        (["{source}", "-o", "{source}"], "is an input"),
        (["{source}", "-o", "x", "--output-dir", "y"], "exclude each other"),
        (["{source}", "--data-set", "y"], "--data-set and --split go together"),
        (["nowhere.json"], "no such file"),
        (["{folder}"], "no event files in this folder"),
        (["{source}", "--min-score", "nan"], "finite"),
        (["{source}", "--classes", ","], "name at least one"),
        (["{source}", "-o", "x", "--overwrite"], "--overwrite goes with"),
        (["{source}", "--seconds", "3"], "--seconds goes with"),
        (["{source}", "--output-dir", "/proc/nowhere"], "cannot be created"),
        (["{source}", "--data-set", "{source}/x", "--split", "val"], "cannot be created"),
    ],
)
def test_wrong_usage_is_reported(run: Callable[..., Result], tmp_path: Path, arguments: list[str], said: str) -> None:
    source = write(tmp_path)
    (tmp_path / "empty").mkdir()
    filled = [argument.format(source=source, folder=tmp_path / "empty") for argument in arguments]
    before = source.read_bytes()
    result = run("convert", *filled)
    assert result.status == 2
    assert said in result.err
    assert source.read_bytes() == before


def test_parse_writes_what_is_asked_for(
    run: Callable[..., Result], tmp_path: Path, clips: Any, tiny_bundle: Path
) -> None:
    common = ("parse", clips.steady, "--weights", tiny_bundle, "--threshold", "0.1", "-q")
    pictures = ("--plot", tmp_path / "x.png", "--html", tmp_path / "x.html", "--explain", tmp_path / "maps.npz")
    result = run(*common, "-o", tmp_path / "x.json", "-f", "json,csv,srt", "--min-duration", "2", *pictures)
    assert result.status == 0, result.err
    assert names(tmp_path) == ["maps.npz", "x.audio.srt", "x.csv", "x.html", "x.json", "x.png", "x.visual.srt"]
    (timeline,) = read_events(tmp_path / "x.json")
    assert timeline.events
    assert all(event.duration >= 2 for event in timeline.events)
    assert timeline.processing == ({"step": "refine", "min_duration": 2.0},)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width > 800
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as maps:
        assert maps["audio_logits"].shape == (1, 3, 3)
    assert run(*common, "-f", "csv").out.startswith("file,modality,label,onset,offset,score")
    for wrong, said in (
        (("--plot", tmp_path / "x.gif"), "ends in .png"),
        (("--embed-video",), "goes with --html"),
        (("--html", clips.steady / "x.html"), "is not a folder"),
        (("--keep-classes", "Cow"), "unknown class Cow"),
        (("-o", tmp_path, "-f", "csv"), "is a folder"),
        (("--segments", "-f", "csv"), "none is asked for"),
        (("-o", tmp_path / "z.svg", "-f", "csv", "--plot", tmp_path / "z.svg"), "two results"),
        (("--output-dir", tmp_path / "d", "--embed-video"), "is for one file"),
        (("--output-dir", tmp_path / "d", "--plot", tmp_path / "y.png"), "avvp report"),
    ):
        refused = run(*common, *wrong)
        assert refused.status == 2
        assert said in refused.err


def test_a_batch_in_several_forms(run: Callable[..., Result], tmp_path: Path, clips: Any, tiny_bundle: Path) -> None:
    common = (
        "parse",
        clips.steady,
        clips.silent,
        "--weights",
        tiny_bundle,
        "--threshold",
        "0.1",
        "--output-dir",
        tmp_path,
    )
    assert run(*common, "-f", "csv,vtt", "--merge-gap", "1").status == 0
    made = {
        f"{clip.stem}.{suffix}"
        for clip in (clips.steady, clips.silent)
        for suffix in ("csv", "audio.vtt", "visual.vtt")
    }
    assert made <= set(names(tmp_path))
    assert not list(tmp_path.glob("*.json"))
    second = run(*common, "-f", "csv,vtt,json", "--merge-gap", "1")
    assert "2 done, 0 done before" in second.err
    assert "0 done, 2 done before" in run(*common, "-f", "csv", "--merge-gap", "1").err
    (timeline,) = read_events(tmp_path / f"{clips.steady.stem}.events.json")
    assert timeline.processing == ({"step": "refine", "merge_gap": 1.0},)


def test_report_of_one_file(run: Callable[..., Result], tmp_path: Path, clips: Any) -> None:
    source = write(tmp_path, clips.steady.stem)
    result = run("report", source, "--html", tmp_path / "x.html", "--plot", tmp_path / "x.svg", "--media", clips.steady)
    assert result.status == 0, result.err
    assert "Speech" in (tmp_path / "x.svg").read_text()
    lost = run("report", source, "--html", tmp_path / "y.html")
    assert "1 without their video" in lost.err
    assert run("report", source).status == 2
    other = write(tmp_path, "other")
    site = ("report", source, other, "--output-dir", tmp_path / "site")
    assert "have several videos" in run(*site, "--media", clips.steady).err
    assert run(*site, "--embed-video").status == 0
    assert run(*site).status == 0
    (tmp_path / "site" / "index.html").write_text("somebody's own")
    assert "was not written by avvp" in run(*site).err
    assert "is the list of all pages" in run("report", write(tmp_path, "index"), "--output-dir", tmp_path / "new").err
