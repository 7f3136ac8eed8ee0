"""`avvp parse FOLDER --output-dir`: timelines by the engine of batch runs, against those of single files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from avvp.pipeline.batch.work import PendingVideo
from avvp.pipeline.outputs.formats.events_json import load_schema
from support.command import Result
from support.media import Clips

GOOD = ("steady", "silent", "blind", "variable", "blink")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def videos(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in GOOD:
        source = getattr(clips, name)
        shutil.copy(source, folder / f"{name}{source.suffix}")
    shutil.copy(clips.numbered("longer.mkv", 240, 8), folder / "longer.mkv")  # parsed in several windows
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture
def parse(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> Run:
    return lambda *more: run("parse", videos, "--output-dir", tmp_path / "out", "--weights", tiny_bundle, *more)


def read(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    jsonschema.validate(document, load_schema())
    return document


@pytest.mark.parametrize("bundle_name", ["tiny_bundle", "tiny_llp_bundle"])
def test_results_are_those_of_single_files(
    run: Run, videos: Path, tmp_path: Path, bundle_name: str, request: pytest.FixtureRequest
) -> None:
    common = ("--weights", request.getfixturevalue(bundle_name), "--segments", "--threshold", 0.3)
    result = run("parse", videos, "--output-dir", tmp_path / "out", *common)
    assert result.status == 1
    assert "6 done, 0 done before, 1 failed" in result.err
    assert "bad.mp4: is not a media file" in result.err.splitlines()[-1]
    for path in videos.iterdir():
        if path.stem == "bad":
            continue
        assert f"{path.stem}: audio: " in result.err
        alone = json.loads(run("parse", path, "-q", *common).out)
        batch = read(tmp_path / "out" / f"{path.stem}.events.json")
        for name, rows in alone.pop("segments").items():
            np.testing.assert_allclose(batch["segments"][name], rows, atol=2e-5)
        del batch["segments"]
        for document in (alone, batch):
            for event in document["events"]:
                event["score"] = pytest.approx(event["score"], abs=2e-5)
        assert batch == alone


def test_what_is_done_is_not_done_again(parse: Run, tmp_path: Path) -> None:
    assert "6 done, 0 done before, 1 failed" in parse().err
    assert "0 done, 6 done before, 1 failed" in parse().err
    changed = parse("--threshold", 0.4, "--dry-run-list").out.splitlines()
    assert len([line for line in changed if line.endswith("events  (other parameters, or not made yet)")]) == 6
    (tmp_path / "out/steady.events.json").write_text("{}")
    assert "1 done, 5 done before, 1 failed" in parse("--device", "cpu").err
    assert read(tmp_path / "out/steady.events.json")["media"]["segments"] == 3
    assert parse("-q").err.count("\n") == 2  # what failed is named all the same


def test_trees_and_lists(run: Run, clips: Clips, tmp_path: Path, tiny_bundle: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(clips.blink, tmp_path / "in" / folder)
    (tmp_path / "list.txt").write_text(f"{clips.blind}\n")
    common = ("--recursive", "--keep-tree", "--list", tmp_path / "list.txt", "--weights", tiny_bundle)
    assert run("parse", tmp_path / "in", *common, "--output-dir", tmp_path / "out").status == 0
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.events.json")}
    assert made == {"one/blink.events.json", "two/blink.events.json", "blind.events.json"}


@pytest.mark.parametrize("option", [("--keep-tree",), ("--workers", 2), ("--engine", "ray"), ("--dry-run-list",)])
def test_options_of_batches_need_a_folder(run: Run, clips: Clips, option: tuple[object, ...]) -> None:
    result = run("parse", clips.blink, *option)
    assert (result.status, f"{option[0]} goes with --output-dir" in result.err) == (2, True)


def test_features_that_are_no_numbers_cost_one_video(parse: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = PendingVideo.blocks

    def damaged(video: PendingVideo, *arguments: Any) -> Any:
        for rows in blocks(video, *arguments):
            yield rows * np.nan if video.job.id == "blind" else rows

    monkeypatch.setattr(PendingVideo, "blocks", damaged)
    result = parse()
    assert "5 done, 0 done before, 2 failed" in result.err
    assert "blind.wav: its features are not finite" in result.err
