"""`avvp train` with recipes that have stages: from nothing to a bundle that parses, through the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.inference.bundle import load_networks
from support.bundles import LABELS
from support.command import Result
from support.llp_like import Recipe, generate
from support.media import Clips

Run = Callable[..., Result]
SMALL = ("--set", "model.hidden_dim=16", "--set", "model.feedforward_dim=16", "--batch-size", "8", "--epochs", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    root = tmp_path_factory.mktemp("data")
    dims = load_networks(str(tiny_bundle)).extractors.spec.dims
    generate(root, Recipe({"train": 16, "val": 6, "test": 6}, labels=LABELS, dims=dims))
    return root


@pytest.fixture
def train(run: Run, data: Path, tiny_bundle: Path) -> Run:
    def call(*arguments: object) -> Result:
        folders = ("--annotations", data / "annotations", "--features", data / "features")
        return run("train", *folders, "--extractors", tiny_bundle, *SMALL, "--device", "cpu", *arguments)

    return call


def test_jomold_from_nothing_to_a_timeline(train: Run, run: Run, data: Path, clips: Clips, tmp_path: Path) -> None:
    root = tmp_path / "run"
    result = train("--recipe", "jomold", "-o", root)
    assert result.status == 0, result.err
    assert "3 stages: 1. estimator (train), 2. ratios (estimate), 3. denoised (train)" in result.err
    assert "stage 1 of 3 (estimator): epoch 2/2" in result.err
    assert "stage 2 of 3 (ratios): wrong labels, mean over the classes: audio" in result.err
    assert "stage 3 of 3 (denoised): epoch 2/2" in result.err
    result = run("parse", clips.blink, "--weights", root, "-o", tmp_path / "events.json")
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "events.json").read_text())["labels"] == list(LABELS)
    # A stage is a run like any other.
    stage = root / "stages" / "1-estimator"
    folders = ("--annotations", data / "annotations", "--features", data / "features")
    assert run("evaluate", "--weights", stage, *folders).status == 0
    assert run("parse", clips.blink, "--weights", stage, "-o", tmp_path / "stage.json").status == 0


def test_a_finished_run_is_resumed_and_prolonged(train: Run, run: Run, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert train("--recipe", "ma", "-o", root, "-q").status == 0
    before = (root / "stages" / "1-noisy" / "best.safetensors").read_bytes()
    result = run("train", "-o", root, "--resume", "--epochs", "3")
    assert result.status == 0, result.err
    assert "stage 3 of 3 (clean): epoch 3/3" in result.err
    assert "stage 1 of 3 (noisy): epoch" not in result.err
    assert (root / "stages" / "1-noisy" / "best.safetensors").read_bytes() == before


def test_a_lost_stage_is_run_again(train: Run, run: Run, tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert train("--recipe", "ma", "-o", root, "-q").status == 0
    shutil.rmtree(root / "stages" / "2-exchange")
    result = run("train", "-o", root, "--resume")
    assert result.status == 0, result.err
    assert "stage 2 of 3 (exchange): of" in result.err
    with (root / "stages" / "2-exchange" / "removed_labels.csv").open("a") as file:
        file.write("x\taudio\tSpeech\n")
    result = run("train", "-o", root, "--resume")
    assert result.status == 2
    assert "removed_labels.csv: is missing or was changed" in result.err
    assert "Traceback" not in result.err


def test_check_checks_every_stage(train: Run) -> None:
    result = train("--recipe", "jomold", "--check")
    assert result.status == 0, result.err
    assert "3 stages:" in result.err
    result = train("--recipe", "jomold", "--check", "--set", "stage.estimator.model.heads=3")
    assert result.status == 2
    assert "heads" in result.err


def test_removed_labels_can_be_reviewed(train: Run, tmp_path: Path) -> None:
    """The list of one run, edited, is what another one trains on, without stages."""
    assert train("--recipe", "ma", "-o", tmp_path / "run", "-q", "--set", "stage.exchange.below=1000.0").status == 0
    listed = tmp_path / "run" / "stages" / "2-exchange" / "removed_labels.csv"
    lines = listed.read_text().splitlines()
    assert len(lines) > 3
    (tmp_path / "reviewed.csv").write_text("\n".join(lines[:3]) + "\n")
    result = train(
        "--recipe", "ma", "-o", tmp_path / "other", "--set", f"training.removed_labels={tmp_path}/reviewed.csv"
    )
    assert result.status == 0, result.err
    assert "stage" not in result.err
    assert not (tmp_path / "other" / "stages").exists()
    (tmp_path / "reviewed.csv").write_text("filename\tmodality\tevent_labels\nnobody\taudio\tSpeech\n")
    result = train(
        "--recipe", "ma", "-o", tmp_path / "third", "--set", f"training.removed_labels={tmp_path}/reviewed.csv"
    )
    assert result.status == 2
    assert "line 2: unknown clip 'nobody'" in result.err


def test_published_ratios_are_for_llp(train: Run, tmp_path: Path) -> None:
    result = train("--recipe", "jomold", "-o", tmp_path / "run", "--set", "training.noise_ratios=llp")
    assert result.status == 2
    assert "for the 25 classes of LLP" in result.err
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_localizers_has_no_stages(run: Run) -> None:
    result = run("model-info", "--recipe", "psp", "--set", "training.denoise=labels")
    assert result.status == 2
    assert "are for task avvp" in result.err
