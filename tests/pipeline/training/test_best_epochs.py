"""The epoch that a recipe selects, early ends, and two best epochs as one parser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.models.files.checkpoint import load_checkpoint
from avvp.models.parser import NetworkPair
from avvp.pipeline.errors import SetupError
from avvp.pipeline.metrics import LevelScores, Scores
from avvp.pipeline.training.run_folder import BEST_FILE, LAST_FILE
from avvp.pipeline.training.settings.training_config import TrainingConfig
from avvp.pipeline.training.train_parser import TrainingJob, train
from avvp.pipeline.training.training_state import TrainingState, load_training_state
from safetensors.torch import load_file
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.training import make_job

HAN = ("model.encoder=han", "model.decoder=mmil", "training.batch_size=10")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    generate(root, Data({"train": 10, "val": 2, "test": 2}, labels=("Speech", "Dog", "Car"), dims=(3, 5, 4)))
    return root


def scored(monkeypatch: pytest.MonkeyPatch, pairs: Sequence[tuple[float, float]]) -> None:
    """Let each epoch have the given audio and visual scores at both levels."""
    given = iter(pairs)

    def score(*_: Any) -> Scores:
        audio, visual = next(given)
        level = LevelScores(audio, visual, 0.0, (audio + visual) / 3, 0.0)
        return Scores(level, level)

    monkeypatch.setattr("avvp.pipeline.training.tasks.score_clips", score)


def job(few: Path, root: Path, *changes: str) -> TrainingJob:
    return make_job(few, root, *HAN, *changes)


@pytest.mark.parametrize(
    ("select", "best"), [("segment.audio", 2), ("event.visual", 4), ("mean", 3), ("last", 4), ("segment.type_av", 3)]
)
def test_the_recipe_selects_the_epoch(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str, best: int
) -> None:
    scored(monkeypatch, [(10, 10), (40, 10), (39, 30), (20, 30)])
    progress = train(job(few, tmp_path / "run", "training.epochs=4", f"training.select={select}"))
    assert progress.best_epoch == best
    assert load_checkpoint(tmp_path / "run" / BEST_FILE).record["epoch"] == best


def test_training_ends_when_no_epoch_is_better(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored(monkeypatch, [(10, 10), (20, 20), (5, 5), (6, 6), (99, 99)])
    small = job(few, tmp_path / "run", "training.epochs=5", "training.patience=2")
    assert (train(small).epochs, load_training_state(tmp_path / "run").best_epoch) == (4, 2)
    assert train(small).epochs == 4  # a finished run stays as it is


@pytest.mark.parametrize(
    ("epochs", "best", "patience", "finished"),
    [(0, 0, 1, False), (5, 1, 0, True), (3, 1, 2, True), (2, 1, 2, False), (4, 4, 1, False)],
)
def test_when_a_run_is_finished(epochs: int, best: int, patience: int, finished: bool) -> None:
    state = TrainingState(epochs=epochs, best_epoch=best)
    assert state.is_finished(TrainingConfig(epochs=5, patience=patience)) == finished


SCORES = [(10, 10), (30, 5), (30, 20), (20, 40)]


def test_each_modality_has_its_best_network(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio of epoch 2, the earlier of equals; visual of epoch 4."""
    root, changes = tmp_path / "run", ("training.select=each_modality", "training.epochs=4")
    scored(monkeypatch, SCORES)
    networks: dict[int, dict[str, torch.Tensor]] = {}
    small = job(few, root, *changes)
    for epoch in range(1, 5):
        part = replace(small, recipe=replace(small.recipe, training=replace(small.recipe.training, epochs=epoch)))
        train(part)
        networks[epoch] = load_file(root / LAST_FILE)
    progress = load_training_state(root)
    assert progress.best_epochs == {"audio": 2, "visual": 4}
    assert progress.best_scores == {"audio": 30, "visual": 40}
    checkpoint = load_checkpoint(root / BEST_FILE)
    assert isinstance(checkpoint.parser, NetworkPair)
    assert checkpoint.parser.config.modality_networks
    assert checkpoint.record["epochs_of"] == {"audio": 2, "visual": 4}
    for name, epoch in (("audio_network", 2), ("visual_network", 4)):
        for key, value in getattr(checkpoint.parser, name).state_dict().items():
            assert torch.equal(value, networks[epoch][key]), (name, key)
    # In one go, the same bits.
    scored(monkeypatch, SCORES)
    train(job(few, tmp_path / "whole", *changes))
    whole, parts = (load_file(path / BEST_FILE) for path in (tmp_path / "whole", root))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    log = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    assert [record["best_of"] for record in log] == [["audio", "visual"], ["audio"], ["visual"], ["visual"]]


def test_without_validation_clips_the_last_epoch_is_both(few: Path, tmp_path: Path) -> None:
    small = make_job(few, tmp_path / "run", *HAN, "training.epochs=2", "training.select=each_modality", val=False)
    assert train(small).best_epochs == {"audio": 2, "visual": 2}


@pytest.mark.parametrize(
    "content",
    [
        {"best_scores": 3},
        {"best_scores": {"audio": 1.0}, "best_epochs": {"audio": 1}},
        {"best_scores": {"audio": 1.0, "visual": 2.0}},
        {"best_scores": {"audio": 1.0, "visual": "x"}, "best_epochs": {"audio": 1, "visual": 1}},
        {"best_scores": {"audio": 1.0, "visual": 2.0}, "best_epochs": {"audio": 1, "visual": 2}},
    ],
)
def test_states_with_other_best_epochs_are_refused(content: dict[str, Any]) -> None:
    state = {"epochs": 1, "best_score": 1.0, "best_epoch": 1, "log": [{}], **content}
    with pytest.raises(ValueError, match="its best"):
        TrainingState.from_content(state)


def test_best_networks_that_are_not_joined_are_refused(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, changes = tmp_path / "run", ("training.select=each_modality", "training.epochs=2")
    scored(monkeypatch, SCORES)
    small = job(few, root, *changes)
    first = replace(small, recipe=replace(small.recipe, training=replace(small.recipe.training, epochs=1)))
    train(first)
    (root / BEST_FILE).write_bytes((root / LAST_FILE).read_bytes())
    with pytest.raises(SetupError, match="not the best networks of both modalities"):
        train(small)
