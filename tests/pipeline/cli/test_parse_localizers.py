"""`avvp parse` with localizers, from the command line: one file in every format, a batch, a page, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.serve.predictions import prediction
from support.bundles import AVE_LABELS, write_tiny_localizer
from support.command import Run
from support.media import Clips

SEVERAL = [name for name, form in FORMATS.items() if name != "parquet"]  # which needs an extra


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_localizer(tmp_path_factory.mktemp("localizers") / "ave", decoder="leap")


def test_one_file_in_every_format(run: Run, bundle: Path, clips: Clips, tmp_path: Path) -> None:
    common = ("--weights", bundle, "--threshold", 0.1)
    outputs = ("--plot", tmp_path / "t.png", "--html", tmp_path / "t.html", "--explain", tmp_path / "a.npz")
    result = run(
        "parse", clips.steady, *common, "-o", tmp_path / "e.json", "-f", ",".join(SEVERAL), "--segments", *outputs
    )
    assert result.status == 0, result.err
    assert "3.0 s   1 both" in result.err
    (timeline,) = read_events(tmp_path / "e.json")
    (event,) = timeline.events
    assert (event.modality, event.onset, event.offset) == ("audio_visual", 0, 3)
    assert timeline.lanes == ("audio_visual",)
    for name in SEVERAL:
        assert any(tmp_path.glob(f"e*.{suffix}") for suffix in FORMATS[name].suffixes), name
    page = (tmp_path / "t.html").read_text()
    assert '"lanes":["audio_visual"]' in page
    assert '"blocks":[{"audio_visual":' in page
    assert (tmp_path / "t.png").stat().st_size > 5_000
    # What was written is drawn, converted and searched.
    assert (
        run("report", tmp_path / "e.json", "--html", tmp_path / "r.html", "--explain", tmp_path / "a.npz").status == 0
    )
    assert run("convert", tmp_path / "e.json", "-o", tmp_path / "c.csv").status == 0
    found = run("find", tmp_path / "e.json", "--audio", event.label)
    assert "1 match" in found.out + found.err
    assert prediction(timeline)["score"] == pytest.approx(event.score)
    cut = run("clips", tmp_path / "e.json", "--media", clips.steady, "-o", tmp_path / "cuts", "--modality", "both")
    assert cut.status == 0, cut.err
    assert len(list((tmp_path / "cuts").glob("*_both.*"))) == 1


def test_a_batch_names_what_was_found(run: Run, bundle: Path, clips: Clips, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(clips.steady, videos / "good.mp4")
    shutil.copy(clips.silent, videos / "silent.mp4")
    (videos / "bad.mp4").write_text("no video")
    common = ("parse", videos, "--weights", bundle, "--threshold", 0.1, "--output-dir", tmp_path / "out")
    result = run(*common, "-f", "json,vtt")
    assert result.status == 1
    assert "2 done, 0 done before, 1 failed" in result.err
    assert any(f"good: both: {label}" in result.err for label in AVE_LABELS)
    assert "silent: both: nothing" in result.err
    document = json.loads((tmp_path / "out" / "good.events.json").read_text())
    alone = json.loads(run("parse", videos / "good.mp4", "--weights", bundle, "--threshold", 0.1, "-q").out)
    assert document["events"] == alone["events"]
    assert document["provenance"]["task"] == "avel"
    assert "there is no sound" in json.loads((tmp_path / "out" / "silent.events.json").read_text())["warnings"][-1]
    again = run(*common, "-f", "json,vtt")
    assert "0 done, 2 done before" in again.err
    site = run("report", tmp_path / "out", "--output-dir", tmp_path / "site")
    assert site.status == 0, site.err


def test_ground_truth_is_shown_beside_a_localizer(run: Run, bundle: Path, clips: Clips, tmp_path: Path) -> None:
    folder = tmp_path / "ave"
    folder.mkdir()
    rows = [f"{label}&video{n}&good&0&{3 if n == 0 else 2}" for n, label in enumerate(AVE_LABELS)]
    (folder / "Annotations.txt").write_text("".join(f"{row}\n" for row in rows))
    for split, row in zip(("trainSet.txt", "valSet.txt", "testSet.txt"), rows, strict=True):
        (folder / split).write_text(f"{row}\n")
    video = tmp_path / "video2.mp4"
    shutil.copy(clips.steady, video)
    result = run(
        "parse", video, "--weights", bundle, "--threshold", 1, "--annotations", folder, "-o", tmp_path / "e.json"
    )
    assert result.status == 0, result.err
    assert "1 of 3 seconds right" in result.err
    assert "missed" in result.err


def test_attention_of_a_localizer_without_leap_is_refused(run: Run, clips: Clips, tmp_path: Path) -> None:
    folder = write_tiny_localizer(tmp_path / "psp", system="psp")
    result = run("parse", clips.steady, "--weights", folder, "-o", tmp_path / "e.json", "--explain", tmp_path / "a.png")
    assert result.status == 2
    assert "this localizer (psp) has its own classifier" in result.err
    assert "-leap" in result.err
    assert not (tmp_path / "e.json").exists()
