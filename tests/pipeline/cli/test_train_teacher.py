"""The command avvp train-teacher: it learns, resumes bit for bit, and refuses what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import load_teacher
from avvp.pipeline.datasets.text_features import TEXT_FILE, read_text_features, write_text_features
from avvp.pipeline.errors import SetupError
from avvp.pipeline.training import step as training_steps
from support.command import Result
from support.dense_data import CLASSES, SETTINGS, write_dense_data

QUICK = (*SETTINGS, "--batch-size", 6, "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dense_data(tmp_path_factory.mktemp("dense"))


@pytest.fixture
def train(run: Callable[..., Result], data: Path) -> Callable[..., Result]:
    def call(root: Path, *options: object) -> Result:
        inputs = ("--annotations", data / "unav.json", "--features", data / "features")
        return run("train-teacher", *inputs, "--text-features", data / TEXT_FILE, "-o", root, *QUICK, *options)

    return call


def read_log(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]


def test_a_teacher_learns(train: Callable[..., Result], tmp_path: Path) -> None:
    root = tmp_path / "teacher"
    result = train(root, "--epochs", 30, "--learning-rate", 5e-3, "--set", "training.warmup_epochs=2")
    assert result.status == 0, result.err
    assert "train 24 clips, val 8 clips; 3 classes; clip-clap features of clap, clip" in result.err
    assert "audio-visual F segment" in result.err
    log = read_log(root)
    best = max(log, key=lambda record: record["validation"]["segment"]["audio_visual"])
    assert best["validation"]["segment"]["audio_visual"] > 75
    assert log[-1]["losses"]["event"] < log[0]["losses"]["event"] / 2
    checkpoint = load_teacher(root / "best.safetensors")
    assert checkpoint.teacher.config.labels == CLASSES
    assert checkpoint.teacher.config.segments == 8
    assert checkpoint.record["validation"] == best["validation"]
    audio, visual = read_text_features(root / TEXT_FILE, CLASSES)
    assert torch.equal(checkpoint.teacher.audio_text, audio)
    assert torch.equal(checkpoint.teacher.visual_text, visual)
    assert {path.name for path in root.iterdir()} >= {"config.json", "environment.json", "log.jsonl"}
    assert not (root / "bundle.toml").exists()


def test_a_resumed_run_ends_with_the_same_bits(
    run: Callable[..., Result], train: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the third epoch; the folder has moved meanwhile."""
    assert train(tmp_path / "whole", "--epochs", 4).status == 0
    step, steps = training_steps.training_step, 0

    def stop(*arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 10:
            raise KeyboardInterrupt
        return step(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(training_steps, "training_step", stop)
        result = train(tmp_path / "cut", "--epochs", 4)
    assert "stopped; resume with: avvp train-teacher -o" in result.err
    shutil.move(tmp_path / "cut", tmp_path / "moved")
    resumed = run("train-teacher", "-o", tmp_path / "moved", "--resume", "--device", "cpu")
    assert resumed.status == 0, resumed.err
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "moved" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = run("train-teacher", "-o", tmp_path / "moved", "--resume", "--device", "cpu", "--epochs", "9")
    assert "a cosine schedule depends on the number of epochs" in again.err


def test_other_data_is_not_resumed_on(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(data, own)
    root = tmp_path / "run"
    inputs = ("--annotations", own / "unav.json", "--features", own / "features")
    started = run("train-teacher", *inputs, "--text-features", own / TEXT_FILE, "-o", root, *QUICK, "--epochs", 1)
    assert started.status == 0, started.err
    resume = ("train-teacher", "-o", root, "--resume", "--device", "cpu")
    path = own / "features/CLAP/features/train000.npy"
    rows = np.load(path)
    np.save(path, rows[::-1].copy())
    assert "the features of 1 clip (train000) of the train split are not those" in run(*resume).err
    np.save(path, rows)
    audio, visual = read_text_features(root / TEXT_FILE, CLASSES)
    write_text_features(root / TEXT_FILE, CLASSES, audio, -visual)
    assert "the label embeddings are not those this run was started with" in run(*resume).err
    (root / TEXT_FILE).unlink()
    assert f"{TEXT_FILE}: not readable text features" in run(*resume).err


def test_a_check_trains_nothing(run: Callable[..., Result], data: Path) -> None:
    inputs = ("--annotations", data / "unav.json", "--features", data / "features")
    result = run("train-teacher", *inputs, "--check")
    assert result.status == 0, result.err
    assert "all files are there and can be used" in result.err


def write_llp(folder: Path) -> Path:
    """Annotations in LLP's form of two clips: the first is heard alone, the second heard and seen."""
    folder.mkdir()
    (folder / "labels.txt").write_text("\n".join(CLASSES))
    (folder / "AVVP_train.csv").write_text("filename\tevent_labels\ntrain000\tskiing\ntrain001\tskiing\n")
    rows = ("filename\tonset\toffset\tevent_labels\n", "train000\t0\t2\tskiing\n", "train001\t1\t2\tskiing\n")
    (folder / "AVVP_eval_audio.csv").write_text("".join(rows))
    (folder / "AVVP_eval_visual.csv").write_text(rows[0] + rows[2])
    return folder


def test_own_data_in_the_form_of_llp(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    """Without a validation split the last epoch is the best."""
    folder = write_llp(tmp_path / "llp")
    inputs = ("--features", data / "features", "--text-features", data / TEXT_FILE)
    result = run("train-teacher", "--annotations", folder, *inputs, "-o", tmp_path / "run", *QUICK, "--epochs", 2)
    assert result.status == 0, result.err
    assert "best epoch 2 of 2" in result.err
    (folder / "AVVP_eval_visual.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    result = run("train-teacher", "--annotations", folder, *inputs, "-o", tmp_path / "no", *QUICK)
    assert result.status == 2
    assert "no class is heard and seen in the same second of a training clip" in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipe", "han"), "recipe han is for avvp train, not for avvp train-teacher"),
        (("--set", "model.heads=3"), "heads 3 does not divide hidden_dim 16"),
        (("--set", "model.audio_dim=3"), "unknown setting model.audio_dim"),
        (("--set", "objective.positive_weight=-1"), "positive_weight is -1.0"),
        (("--set", "training.select=mean"), "for task avvp"),
        (("--prompts", "{text}"), "--text-features is in place of prompts and models: leave out --prompts"),
        (("--resume",), "--resume uses what the run was started with; leave out --annotations"),
        (("--features", "{empty}"), "no feature folder"),
        (("--text-features", "{unav}"), "unav.json: not readable text features"),
        (("--text-features", "{few}"), "has no text features of the class 'man speaking'"),
        (("--text-features", "{narrow}"), "the text features have 20 values, the features of CLAP and CLIP 12 + 16"),
    ],
)
def test_what_does_not_fit(
    train: Callable[..., Result], data: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    audio, visual = read_text_features(data / TEXT_FILE, CLASSES)
    write_text_features(tmp_path / "few.safetensors", CLASSES[:2], audio[:2], visual[:2])
    write_text_features(tmp_path / "narrow.safetensors", CLASSES, audio[:, :4], visual)
    places = {
        "text": data / TEXT_FILE, "unav": data / "unav.json", "empty": tmp_path / "empty",
        "few": tmp_path / "few.safetensors", "narrow": tmp_path / "narrow.safetensors",
    }  # fmt: skip
    result = train(tmp_path / "run", *(option.format(**places) for option in options))
    assert result.status == 2
    assert said in result.err
    assert not (tmp_path / "run").exists()


def test_training_of_parsers_refuses_the_recipe(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    inputs = ("--annotations", tmp_path, "--features", data / "features")
    result = run("train", *inputs, "--recipe", "uwav-teacher", "-o", tmp_path / "run")
    assert (result.status, "is for avvp train-teacher, not for avvp train" in result.err) == (2, True)


def test_missing_options(run: Callable[..., Result], tmp_path: Path) -> None:
    assert "missing --annotations and --features" in run("train-teacher", "-o", tmp_path / "run").err
    assert "name the folder of the run with -o" in run("train-teacher").err
    assert "holds no config.json" in run("train-teacher", "-o", tmp_path, "--resume").err


@pytest.mark.parametrize("damage", ["nan", "labels", "tables"])
def test_damaged_text_features(tmp_path: Path, damage: str) -> None:
    from safetensors.torch import save_file

    tables = {"audio": torch.zeros(1, 2), "visual": torch.zeros(1, 2)}
    labels = '["a"]'
    if damage == "nan":
        tables["visual"][0, 0] = torch.nan
    elif damage == "labels":
        labels = '["a", "b"]'
    else:
        del tables["audio"]
    save_file(tables, tmp_path / "x.safetensors", {"avvp_labels": labels})
    with pytest.raises(SetupError, match=r"x\.safetensors: not readable text features"):
        read_text_features(tmp_path / "x.safetensors", ["a"])


def test_the_size_of_the_published_teacher(run: Callable[..., Result]) -> None:
    """A layer has 4 x 1024 x 1025 + 2 x 1024 x 2048 + 3072 + 4096 parameters; the text features are none."""
    layer = 4 * 1024 * 1025 + 2 * 1024 * 2048 + 3072 + 4096
    sizes = {
        width: width * 2048 + 2048 + 2048 * 1024 + 1024 + 1025 * width + (width + 1) * width for width in (512, 768)
    }
    result = run("model-info", "--recipe", "uwav-teacher")
    assert result.status == 0, result.err
    for name, width in (("audio", 512), ("visual", 768)):
        assert f"{name} {5 * layer + sizes[width]:,}" in " ".join(result.out.split())
    assert "temporal teacher, 25 classes" in result.out
