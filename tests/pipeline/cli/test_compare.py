"""avvp compare on the real command line: runs, bundles and folders of event files."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.command import Result
from support.run_folders import LABELS, train_options, write_data

Run = Callable[..., Result]


def read_table(root: Path, file: str) -> list[dict[str, str]]:
    text = (root / "annotations" / file).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


def write_events(root: Path, folder: Path, *, shift: float = 0.0, task: str = "avvp") -> Path:
    """Write the annotated events of the test clips as timelines, later by `shift` seconds."""
    folder.mkdir()
    tables = {modality: read_table(root, f"AVVP_eval_{modality}.csv") for modality in ("audio", "visual")}
    for row in read_table(root, "AVVP_test_pd.csv"):
        events = [
            {
                "modality": modality, "label": event["event_labels"], "score": 1,
                "onset": float(event["onset"]) + shift, "offset": float(event["offset"]) + shift,
            }
            for modality, rows in tables.items()
            for event in rows
            if event["filename"] == row["filename"]
        ]  # fmt: skip
        (folder / f"{row['filename']}.events.json").write_text(
            json.dumps({"events": events, "provenance": {"task": task}})
        )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def runs(data: Path, run: Run, tmp_path: Path) -> Path:
    for name, decoder in (("mmil", "mmil"), ("leap", "leap")):
        weight = "objective.similarity_weight=0.0" if decoder == "mmil" else "objective.similarity_weight=1.0"
        settings = ("--set", f"model.decoder={decoder}", "--set", weight, "--epochs", "1", "-q")
        result = run(*train_options(data), *settings, "-o", tmp_path / name)
        assert result.status == 0, result.err
    return tmp_path


def options(data: Path) -> list[str]:
    return ["--annotations", str(data / "annotations"), "--features", str(data / "features"), "--resamples", "200"]


def test_runs_and_events_side_by_side(data: Path, runs: Path, run: Run, tmp_path: Path) -> None:
    events = write_events(data, tmp_path / "events")
    systems = [str(runs / "mmil"), str(runs / "leap"), str(events)]
    plot, output = tmp_path / "compared.png", tmp_path / "compared.json"
    result = run("compare", *systems, *options(data), "--per-class", "-f", "json", "-o", output, "--plot", plot)
    assert (result.status, result.out) == (0, ""), result.err
    document = json.loads(output.read_text())
    assert (document["systems"], document["clips"], document["videos"]) == (["mmil", "leap", "events"], 6, 6)
    assert (document["resamples"], document["seed"], document["confidence"]) == (200, 0, 95)
    names = [group["name"] for group in document["groups"]]
    assert names == ["all clips", "overlapping", "non-overlapping", *LABELS]
    whole = document["groups"][0]
    assert set(whole["scores"]["events"]["event.type_av"].values()) == {100.0}
    for system in ("mmil", "leap"):
        scored = run("evaluate", "--weights", runs / system, *options(data)[:4], "-f", "json")
        assert scored.status == 0, scored.err
        scores = json.loads(scored.out)["scores"]
        for name, value in whole["scores"][system].items():
            level, _, score = name.partition(".")
            assert value["value"] == pytest.approx(scores[level][score] if score else scores["mean"])
            assert value["low"] <= value["value"] <= value["high"]
    of_leap, of_events = (whole["differences"][name]["mean"] for name in ("leap", "events"))
    values = {name: scores["mean"]["value"] for name, scores in whole["scores"].items()}
    assert of_leap["value"] == pytest.approx(values["leap"] - values["mmil"])
    assert of_events["low"] > 0
    assert of_events["better"] == 1.0
    width, height = struct.unpack(">II", plot.read_bytes()[16:24])
    assert width < height


def test_every_format(data: Path, run: Run, tmp_path: Path) -> None:
    """Events that are a second late; one run alone has the intervals of its scores."""
    exact, late = write_events(data, tmp_path / "exact"), write_events(data, tmp_path / "late_1", shift=1.0)
    command = ("compare", exact, late, "--annotations", data / "annotations", "--resamples", "100")
    table = run(*command)
    assert table.status == 0, table.err
    assert "late_1 - exact" in table.out
    assert "100.0 [100.0, 100.0]" in table.out
    assert "* marks those whose interval excludes 0" in table.out
    assert "6 videos (seed 0). Intervals of so few videos are too narrow." in table.out
    markdown = run(*command, "-f", "markdown")
    assert "|score|exact|late_1|late_1 - exact|" in markdown.out
    latex = run(*command, "-f", "latex")
    assert r"late\_1 - exact & $-" in latex.out
    bold = [line.count(r"\textbf{100.0}") for line in latex.out.splitlines() if line.startswith("exact &")]
    assert bold == [11] * 3  # all clips, overlapping, non-overlapping
    assert latex.out.count(r"\begin{tabular}") == latex.out.count(r"\end{tabular}") == 1
    rows = list(csv.DictReader(io.StringIO(run(*command, "-f", "csv", "--per-class").out)))
    assert len(rows) == 6 * 3 * 11
    assert {row["compared_with"] for row in rows} == {"", "exact"}
    assert all(float(row["low"] or 0) <= float(row["high"] or 0) for row in rows)
    alone = run("compare", late, "--annotations", data / "annotations", "--resamples", "100", "--seed", "1")
    assert alone.status == 0
    assert "Differences" not in alone.out
    assert "(seed 1)" in alone.out
    svg = tmp_path / "one.svg"
    assert run("compare", late, "--annotations", data / "annotations", "--plot", svg, "-q").status == 0
    assert "late_1" in svg.read_text(encoding="utf-8")


def test_networks_read_the_features_of_their_profile(data: Path, runs: Path, run: Run, tmp_path: Path) -> None:
    """A run on narrower features beside one on those of the others."""
    narrow = shutil.copytree(data / "features", tmp_path / "narrow")
    for file in (narrow / "vggish_tiny").iterdir():
        np.save(file, np.load(file)[:, :2])
    spec = json.loads((narrow / "features.json").read_text())
    (narrow / "features.json").write_text(json.dumps({**spec, "dims": [2, *spec["dims"][1:]]}))
    command = [part if part != str(data / "features") else str(narrow) for part in train_options(data)]
    trained = run(*command, "--epochs", "1", "-q", "-o", tmp_path / "other")
    assert trained.status == 0, trained.err
    both = run("compare", runs / "leap", tmp_path / "other", *options(data), "--features", narrow, "-f", "json")
    assert both.status == 0, both.err
    assert json.loads(both.out)["systems"] == ["leap", "other"]
    alone = run("compare", runs / "leap", tmp_path / "other", *options(data))
    assert alone.status == 2
    assert "dims: [2, 5, 4] / [3, 5, 4]" in alone.err


def test_clips_that_differ(data: Path, run: Run, tmp_path: Path) -> None:
    exact, fewer = write_events(data, tmp_path / "exact"), write_events(data, tmp_path / "fewer")
    files = sorted(fewer.iterdir())
    files[0].unlink()
    missing = run("compare", exact, fewer, "--annotations", data / "annotations")
    assert missing.status == 2
    assert f"missing: {files[0].name}" in missing.err
    assert "--allow-missing" in missing.err
    shared = run("compare", exact, fewer, "--annotations", data / "annotations", "--allow-missing", "-f", "json")
    assert shared.status == 0, shared.err
    document = json.loads(shared.out)
    assert document["clips"] == 5
    assert document["notes"] == ["5 of 6 clips: the others are not in all systems."]
    for file in files[2:]:
        file.unlink()
    one = run("compare", exact, fewer, "--annotations", data / "annotations", "--allow-missing")
    assert one.status == 2
    assert "1 clips of test are in all systems; intervals need at least 2" in one.err


def test_classes_that_differ(data: Path, runs: Path, run: Run, tmp_path: Path) -> None:
    annotations = shutil.copytree(data / "annotations", tmp_path / "annotations")
    for file in annotations.iterdir():
        file.write_text(file.read_text().replace("Dog", "Cat"))
    result = run("compare", runs / "leap", "--annotations", annotations, "--features", data / "features")
    assert result.status == 2
    assert "only the parser has Dog; only the annotations have Cat" in result.err
    events = write_events(data, tmp_path / "events")
    of_events = run("compare", events, "--annotations", annotations)
    assert of_events.status == 2
    assert "Dog" in of_events.err


def test_localizers_have_accuracies(data: Path, run: Run, tmp_path: Path) -> None:
    exact, late = (
        write_events(data, tmp_path / name, shift=shift, task="avel") for name, shift in (("exact", 0.0), ("late", 2.0))
    )
    command = ("compare", late, exact, "--annotations", data / "annotations", "--resamples", "100", "--per-class")
    document = json.loads(run(*command, "-f", "json").out)
    assert document["task"] == "avel"
    assert [group["name"] for group in document["groups"]] == ["all clips", *LABELS, "background"]
    whole = document["groups"][0]
    assert set(whole["scores"]["exact"]["accuracy"].values()) == {100.0}
    scored = json.loads(run("evaluate", "--timelines", late, "--annotations", data / "annotations", "-f", "json").out)
    assert whole["scores"]["late"]["accuracy"]["value"] == pytest.approx(scored["scores"]["accuracy"])
    assert "Percent of seconds whose class is right" in run(*command).out
    assert run(*command, "-f", "latex").status == 0
    other = run(*command, "--class-score", "event.type_av")
    assert other.status == 2
    assert "localizers have accuracy, events, background" in other.err


def test_localizers_and_parsers_are_not_compared(data: Path, run: Run, tmp_path: Path) -> None:
    parsed, localized = write_events(data, tmp_path / "p"), write_events(data, tmp_path / "l", task="avel")
    result = run("compare", parsed, localized, "--annotations", data / "annotations")
    assert result.status == 2
    assert "l names one class a second (event localization), p classes heard and seen" in result.err


def test_names_of_equal_folders(data: Path, run: Run, tmp_path: Path) -> None:
    folders = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folders.append(write_events(data, tmp_path / name / "events"))
    result = run("compare", *folders, "--annotations", data / "annotations", "--resamples", "10", "-f", "json")
    assert json.loads(result.out)["systems"] == ["a/events", "b/events"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": False}, "missing --annotations"),
        ({"twice": True}, "is named twice"),
        ({"more": ["--class-score", "mean"]}, "--class-score goes with --per-class"),
        ({"more": ["--plot", "x.gif"]}, "expected a name that ends in .png, .svg, .pdf"),
        ({"more": ["--resamples", "0"]}, "0 is not in the range"),
        ({"more": ["--confidence", "100"]}, "100.0 is not in the range"),
        ({"systems": ["demo"]}, "demo is a network, which reads --features"),
        ({"systems": [f"run{number}" for number in range(21)]}, "21 runs; at most 20"),
        ({"systems": ["nothing-there"]}, "nothing-there"),
    ],
    ids=str,
)
def test_wrong_usage(changes: dict[str, object], message: str, data: Path, run: Run, tmp_path: Path) -> None:
    systems = changes.get("systems", [write_events(data, tmp_path / "events")])
    assert isinstance(systems, list)
    more = changes.get("more", [])
    assert isinstance(more, list)
    annotations = ["--annotations", data / "annotations"] if changes.get("annotations", True) else []
    result = run("compare", *systems, *(systems if changes.get("twice") else []), *annotations, *more)
    assert result.status == 2
    assert message in result.err
