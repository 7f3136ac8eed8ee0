"""The tour of an annotator: timelines to an annotation program, corrected there, back, in a report, and scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bundles import LABELS
from support.command import Result
from support.media import Clips

Run = Callable[..., Result]
WRONG, KEPT, RIGHT = LABELS[0], LABELS[1], "Glass_breaking"


@pytest.fixture
def desk(run: Run, clips: Clips, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two parsed clips; every class is heard and seen in all of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for name in ("one", "two"):
        shutil.copy(clips.blink, tmp_path / f"clips/{name}.mp4")
    parsed = run("parse", "clips", "--output-dir", "events", "--weights", tiny_bundle, "--threshold", "0", "-q")
    assert parsed.status == 0, parsed.err
    return tmp_path


def labels(path: Path) -> set[tuple[str, str]]:
    """Return modality and class of the events of a timeline; audio-visual ones follow from the others."""
    events = json.loads(path.read_text())["events"]
    return {(event["modality"], event["label"]) for event in events if event["modality"] != "audio_visual"}


def relabel_text(path: Path) -> None:
    """Rename a class, as a person does in ELAN, Praat, Audacity or a table."""
    text = path.read_text(encoding="utf-8")
    assert WRONG in text
    path.write_text(text.replace(WRONG, RIGHT), encoding="utf-8")


def annotate_task(path: Path) -> None:
    """Turn predictions into annotations with one class renamed, as Label Studio exports them."""
    tasks: list[dict[str, Any]] = json.loads(path.read_text())
    for task in tasks:
        result = json.loads(json.dumps(task.pop("predictions")[0]["result"]).replace(WRONG, RIGHT))
        task["annotations"] = [{"id": 1, "result": result, "was_cancelled": False}]
    path.write_text(json.dumps(tasks))


@pytest.mark.parametrize(
    ("form", "pattern", "correct"),
    [
        ("eaf", "one.eaf", relabel_text),
        ("textgrid", "one.TextGrid", relabel_text),
        ("audacity", "one.*.txt", relabel_text),
        ("csv", "one.csv", relabel_text),
        ("label-studio", "one.label-studio.json", annotate_task),
    ],
)
def test_the_tour(run: Run, desk: Path, form: str, pattern: str, correct: Callable[[Path], None]) -> None:
    def succeed(*arguments: object) -> Result:
        result = run(*arguments)
        assert result.status == 0, (arguments, result.err)
        return result

    succeed("convert", "events", "--classes", f"{WRONG},{KEPT}", "-f", form, "--output-dir", "there")
    sent = sorted((desk / "there").glob(pattern))
    assert sent
    for path in sent:
        if form != "audacity" or "audio_visual" not in path.name:
            correct(path)
    for path in (desk / "there").glob("*audio_visual*"):
        path.unlink()  # it follows from the others
    succeed("convert", "there", "-f", "json", "--output-dir", "back")
    (one, two) = (next((desk / "back").glob(f"{name}*.json")) for name in ("one", "two"))
    assert labels(one) == {(modality, label) for modality in ("audio", "visual") for label in (RIGHT, KEPT)}
    assert labels(two) == {(modality, label) for modality in ("audio", "visual") for label in (WRONG, KEPT)}

    succeed("report", "back", "--media", "clips", "--output-dir", "site", "-q")
    index = (desk / "site/index.html").read_text(encoding="utf-8")
    assert RIGHT in index
    assert "two.html" in index

    one.rename(one.with_name("ann's second pass.json"))  # the media that it states is its name
    succeed("convert", "back", "--data-set", "data", "--split", "val", "--seconds", "1")
    scored = succeed("evaluate", "--timelines", "back", "--annotations", "data", "--split", "val")
    assert "all clips (2)" in scored.out
