"""Runs with --precision int8 of a plain bundle: calibrated on their first files, and resumed with the same networks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from avvp.pipeline.cli import calibrated_run
from avvp.pipeline.quantization import kept, write
from avvp.pipeline.quantization.kept import kept_folder
from support.command import Run
from support.media import Clips
from support.quantized import quantize_once


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the tests of this module: calibration takes seconds."""
    return tmp_path_factory.mktemp("cache-of-int8")


@pytest.fixture(autouse=True)
def _shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(write, "quantize_extractor", quantize_once)


@pytest.fixture
def videos(tmp_path: Path, clips: Clips) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "m.mp4").write_bytes(clips.steady.read_bytes())
    return folder


def calibration_of(folder: Path) -> str:
    return json.loads((folder / "journal" / "calibration.json").read_text())["calibration"]


def test_a_resumed_run_has_the_same_networks(
    run: Run, videos: Path, clips: Clips, tiny_bundle: Path, tmp_path: Path
) -> None:
    feats = tmp_path / "feats"
    command = ("extract", videos, "-o", feats, "--weights", tiny_bundle, "--precision", "int8")
    first = run(*command)
    assert first.status == 0, first.err
    assert "calibrating int8 networks on the first 1 of 1 files (minutes, once)" in first.err
    spec = json.loads((feats / "features.json").read_text())
    assert (spec["precision"], spec["backend"], spec["calibration"]) == ("int8", "openvino", calibration_of(feats))

    (videos / "a.mp4").write_bytes(clips.blink.read_bytes())  # comes first now
    second = run(*command)
    assert second.status == 0, second.err
    assert f"computing in int8, calibrated as the results in {feats} were" in second.err
    assert "1 done, 1 done before, 0 failed" in second.err
    assert json.loads((feats / "features.json").read_text()) == spec

    fp32 = run(*command[:-2])
    assert fp32.status == 2
    assert "precision: int8 / fp32" in fp32.err


def test_timelines_name_the_bundle_and_its_calibration(
    run: Run, videos: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    command = ("parse", videos, "--output-dir", events, "--weights", tiny_bundle, "--precision", "int8")
    result = run(*command)
    assert result.status == 0, result.err
    provenance = json.loads((events / "m.events.json").read_text())["provenance"]
    assert (provenance["bundle"], provenance["precision"]) == (tiny_bundle.name, "int8")
    assert provenance["features"]["calibration"] == calibration_of(events)
    assert set(provenance["weights"]) > {"resnet_tiny.int8.safetensors"}
    dry = run(*command, "--dry-run")  # known, so nothing has to be computed
    assert dry.status == 0, dry.err


def test_runs_that_are_refused_leave_the_calibration_of_a_folder(
    run: Run, videos: Path, clips: Clips, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feats = tmp_path / "feats"
    command = ("extract", videos, "-o", feats, "--weights", tiny_bundle, "--precision", "int8")
    assert run(*command).status == 0
    before = (feats / "journal" / "calibration.json").read_text()
    (videos / "a.mp4").write_bytes(clips.blink.read_bytes())
    monkeypatch.setattr(calibrated_run, "_read", lambda _: None)  # as of other weights
    refused = run(*command)
    assert refused.status == 2
    assert f"{feats}: holds features of int8 networks with another calibration; choose another folder" in refused.err
    assert (feats / "journal" / "calibration.json").read_text() == before


def test_nothing_is_calibrated_for_a_folder_of_another_precision(
    run: Run, videos: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    feats = tmp_path / "feats"
    command = ("extract", videos, "-o", feats, "--weights", tiny_bundle)
    assert run(*command).status == 0
    refused = run(*command, "--precision", "int8")
    assert refused.status == 2
    assert f"{feats}: holds features in fp32; choose another folder" in refused.err
    assert "calibrating" not in refused.err


def test_a_damaged_copy_of_a_parser_is_made_again(run: Run, videos: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    command = ("parse", videos, "--weights", tiny_bundle, "--precision", "int8", "--output-dir")
    assert run(*command, tmp_path / "events").status == 0
    (copy,) = kept_folder().glob(f"{calibration_of(tmp_path / 'events')}-*/parser.safetensors")
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + b"\xff")
    assert run(*command, tmp_path / "others").status == 0
    assert copy.read_bytes() == content


def test_networks_that_are_gone_are_named(run: Run, videos: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    feats = tmp_path / "feats"
    command = ("extract", videos, "-o", feats, "--weights", tiny_bundle, "--precision", "int8")
    assert run(*command).status == 0
    calibration = calibration_of(feats)
    place = kept_folder() / calibration
    network = place / "resnet_tiny.int8.safetensors"
    network.write_bytes(network.read_bytes()[:-1] + b"\xff")  # damaged is as good as gone
    result = run(*command)
    assert result.status == 2
    assert f"no longer in the cache of this machine (calibration {calibration}): choose another folder" in result.err
    again = run(*command, "--overwrite")
    assert again.status == 0, again.err
    assert calibration_of(feats) == calibration  # of the same clip
    shutil.rmtree(place)
    assert run(*command).status == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "1/2"), "--precision int8 with --shard needs networks that are quantized before: avvp weights"),
        (("--engine", "ray"), "--precision int8 with --engine ray needs networks that are quantized before"),
        (("--dry-run",), "a dry run computes nothing, and int8 networks are not calibrated yet for it"),
        (("--backend", "torch"), "--precision int8 is computed by the backend openvino, not by torch"),
    ],
)
def test_runs_that_cannot_be_calibrated_are_refused(
    run: Run, videos: Path, tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    feats = tmp_path / "feats"
    result = run("extract", videos, "-o", feats, "--weights", tiny_bundle, "--precision", "int8", *options)
    assert result.status == 2, result.err
    assert message in result.err
    assert not (feats / "journal" / "calibration.json").exists()


def test_strange_calibrations_are_refused(run: Run, videos: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    feats = tmp_path / "feats"
    (feats / "journal").mkdir(parents=True)
    for content in ("[", "[]", '{"calibration": "../../etc", "weights": {}}', '{"calibration": 3, "weights": {}}'):
        (feats / "journal" / "calibration.json").write_text(content)
        result = run("extract", videos, "-o", feats, "--weights", tiny_bundle, "--precision", "int8")
        assert result.status == 2
        assert "not what a run in int8 writes; choose another folder" in result.err


def test_old_networks_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_KEPT", 2)
    for age, name in enumerate(("new", "older", "oldest", ".avvp-begun", ".avvp-abandoned")):
        (tmp_path / name).mkdir()
        seconds = 1_700_000_000 - age if name != ".avvp-begun" else 4_000_000_000
        os.utime(tmp_path / name, (seconds, seconds))
    kept._shrink(tmp_path, keep="oldest")
    assert {place.name for place in tmp_path.iterdir()} == {"new", "older", "oldest", ".avvp-begun"}
    kept._shrink(tmp_path, keep="new")
    assert {place.name for place in tmp_path.iterdir()} == {"new", "older", ".avvp-begun"}
