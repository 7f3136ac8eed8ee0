"""`training.precision = "auto"`: measured, remembered, recorded as what it became, and kept by a resumed run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.pipeline.computing.machine import this_machine
from avvp.pipeline.computing.speed_file import Speed, read_measurements, remember
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.pipeline.precisions import AUTO
from avvp.pipeline.training import measured_precision
from avvp.pipeline.training.measured_precision import is_open, settle_precision
from avvp.pipeline.training.settings.stage import make_stages
from avvp.pipeline.training.setup import TrainingPlan
from avvp.pipeline.training.step import StepRecorder, training_step
from avvp.pipeline.training.train_parser import TrainingJob, restore_run
from support.command import Result
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.training import CPU, make_job

Run = Callable[..., Result]
LABELS = ("Speech", "Dog", "Car")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    generate(root, Data({"train": 8, "val": 4, "test": 4}, labels=LABELS, dims=(3, 5, 4)))
    return root


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_precision, "_SECONDS", 0.0)


def make_plan(job: TrainingJob) -> TrainingPlan:
    return TrainingPlan(annotations=Path("a"), features=Path("b"), recipe=job.recipe)


def rates(job: TrainingJob, fp32: float, bf16: float, error: float = 0.001) -> None:
    """Remember how fast steps of a job are."""
    speeds = [Speed("torch", "fp32", fp32, 0.0), Speed("torch", "bf16", bf16, error)]
    subject = f"training {measured_precision._identify(job)}"
    remember(this_machine(CPU, torch.get_num_threads()), subject, speeds, {})


def settled(job: TrainingJob) -> tuple[str, str]:
    plan, same, reason = settle_precision(make_plan(job), job)
    assert same.recipe is plan.recipe
    return plan.recipe.training.precision, reason


def test_a_named_precision_stays(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path, "training.precision=bf16")
    assert settled(job) == ("bf16", "")
    assert read_measurements() == {}


def test_the_faster_is_chosen(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path, "training.precision=auto")
    rates(job, 10, 16)
    assert settled(job) == (
        "bf16",
        "training in bf16: a step in bf16 is 1.60 times as fast as in fp32 (measured before)",
    )
    rates(job, 10, 10.4)
    assert settled(job)[0] == "fp32"  # not worth it
    rates(job, 10, 16, error=0.03)
    assert settled(job) == ("fp32", "training in fp32: the loss in bf16 differs by 3.0% (measured before)")


def test_steps_are_measured_once(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(few, tmp_path, "training.precision=auto")
    state = torch.random.get_rng_state()
    name, reason = settled(job)
    assert reason.endswith("(measured now, and remembered)")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(tmp_path.iterdir())
    (measurement,) = read_measurements().values()
    by_precision = {speed.precision: speed for speed in measurement.speeds}
    assert by_precision["fp32"].error == 0
    assert 0 < by_precision["bf16"].error < measured_precision.MAX_LOSS_ERROR

    def refuse(_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(measured_precision, "_measure", refuse)
    assert settled(job) == (name, reason.replace("measured now, and remembered", "measured before"))
    other = make_job(few, tmp_path, "training.precision=auto", "training.batch_size=3")
    with pytest.raises(AssertionError, match="measured again"):
        settled(other)


def test_steps_are_measured_as_a_run_takes_them(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the recorder: a GPU starts recorded steps much faster, and those in bf16 more so than those in fp32."""
    taken: list[str] = []
    plain = StepRecorder.step

    def count(recorder: StepRecorder, *args: Any, **options: Any) -> dict[str, float]:
        taken.append(args[2].training.precision)
        return plain(recorder, *args, **options)

    monkeypatch.setattr(StepRecorder, "step", count)
    job = make_job(few, tmp_path, "training.precision=auto")
    settled(job)
    assert taken == ["fp32", "bf16"] + ["fp32", "bf16"] * measured_precision._LEAST_ROUNDS


def test_longer_clips_are_measured_anew(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path, "training.precision=auto")
    longer = replace(job, clips=replace(job.clips, lengths=6 * job.clips.lengths))
    assert measured_precision._identify(longer) != measured_precision._identify(job)


def test_a_precision_that_fails_is_not_chosen(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def broken(parser: object, batch: object, recipe: object, *rest: object, **more: object) -> dict[str, float]:
        if recipe.training.precision == "bf16":  # pyright: ignore[reportAttributeAccessIssue]
            raise RuntimeError("no kernel\nmore")
        return training_step(parser, batch, recipe, *rest, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(measured_precision, "training_step", broken)
    job = make_job(few, tmp_path, "training.precision=auto")
    assert settled(job) == ("fp32", "training in fp32: no kernel (measured now, and remembered)")


def test_stages_are_settled_too(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path, "training.precision=fp32")
    stages = make_stages([
        {"kind": "train", "name": "noisy", "training": {"precision": AUTO, "epochs": 1}},
        {"kind": "train", "name": "last"},
    ])  # fmt: skip
    job = replace(job, recipe=replace(job.recipe, stages=stages))
    assert is_open(job.recipe)
    rates(job, 10, 16)
    plan, _, _ = settle_precision(make_plan(job), job)
    assert plan.recipe.training.precision == "fp32"
    assert plan.recipe.stages[0].tables["training"] == {"precision": "bf16", "epochs": 1}
    assert not is_open(plan.recipe)


def test_training_needs_a_precision(few: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="call settle_precision"):
        restore_run(make_job(few, tmp_path, "training.precision=auto"))


def test_a_run_prepares_its_device(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else cuDNN would compute LSTMs of fp32 in TF32, and a GPU without bf16 would end the run with PyTorch's error."""

    def refuse(precision: ComputePrecision, device: torch.device) -> None:
        raise SetupError(f"{precision} on {device}")

    monkeypatch.setattr(ComputePrecision, "prepare", refuse)
    with pytest.raises(SetupError, match="bf16 on cpu"):
        restore_run(make_job(few, tmp_path, "training.precision=bf16"))


def test_the_run_records_and_keeps_what_was_chosen(
    run: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        measured_precision, "_measure",
        lambda _: ([Speed("torch", "fp32", 10, 0.0), Speed("torch", "bf16", 25, 0.001)], {}),
    )  # fmt: skip
    small = ("--set", "model.hidden_dim=8", "--set", "model.heads=2", "--set", "model.feedforward_dim=8")
    data = ("--annotations", few / "annotations", "--features", few / "features")
    options = (*data, "--recipe", "han", "--device", "cpu", *small)
    assert "bf16" not in run("train", *options, "--precision", "auto", "--check").err
    result = run("train", *options, "--precision", "auto", "--epochs", 1, "-o", tmp_path / "run")
    assert result.status == 0, result.err
    assert result.err.count("training in bf16: a step in bf16 is 2.50 times as fast as in fp32") == 1
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["recipe"]["training"]["precision"] == "bf16"
    monkeypatch.setattr(measured_precision, "_measure", lambda _: pytest.fail("measured again"))
    resumed = run("train", "-o", tmp_path / "run", "--resume", "--epochs", 2, "--device", "cpu")
    assert (resumed.status, "training in" in resumed.err) == (0, False)


def test_tables_name_their_precision(run: Run, few: Path, tmp_path: Path) -> None:
    result = run("reproduce", "table3", "--annotations", few / "annotations", "--features", few / "features", "-o",
                 tmp_path / "table", "--set", "training.precision=auto", "--device", "cpu")  # fmt: skip
    assert result.status == 2
    assert "compares runs of one precision" in result.err


def test_features_of_another_precision_are_read_and_named(run: Run, few: Path, tmp_path: Path) -> None:
    shutil.copytree(few / "features", tmp_path / "features")
    path = tmp_path / "features/features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "precision": "bf16", "backend": "openvino"}))
    result = run("train", "--annotations", few / "annotations", "--features", tmp_path / "features", "--recipe", "han",
                 "--device", "cpu", "--check")  # fmt: skip
    assert (result.status, "in bf16 by openvino" in result.err) == (0, True), result.err
