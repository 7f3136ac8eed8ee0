"""Training steps that are recorded as CUDA graphs are held to those that are not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.devices import FP32
from avvp.pipeline.training.batches.hooks import step_context
from avvp.pipeline.training.run_folder import LAST_FILE
from avvp.pipeline.training.step import StepRecorder
from avvp.pipeline.training.train_parser import RestoredRun, restore_run, train
from safetensors.torch import load_file
from support.llp_like import Recipe, generate
from support.training import make_job
from torch import Tensor
from torch.nn import functional as F

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda")
STILL = ("model.dropout=0.0", "model.attention_dropout=0.0")
SHORT = ("training.batch_size=8", "training.epochs=3", "training.step_epochs=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    generate(root, Recipe({"train": 28, "val": 6, "test": 6}, labels=("Speech", "Dog", "Car"), dims=(3, 5, 4)))
    FP32.prepare(GPU)
    return root


def count_replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with each recorded step that is taken."""
    replays: list[int] = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(1), replay(graph))[1])
    return replays


def losses(log: Any) -> list[float]:
    return [value for record in log for value in record["losses"].values()]


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ((), 1e-5),
        (("training.clip_norm=0.1",), 1e-5),
        (("model.encoder=han", "model.decoder=mmil"), 1e-5),
        (("training.precision=bf16",), 2e-2),
    ],
)
def test_recorded_steps_equal_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...], tolerance: float
) -> None:
    replays = count_replays(monkeypatch)
    found = train(replace(make_job(data, tmp_path / "recorded", *STILL, *SHORT, *changes), device=GPU))
    assert len(replays) == 7  # of 3 whole batches in each of 3 epochs, all but the first of each learning rate
    monkeypatch.setattr(StepRecorder, "_record", lambda *_, **__: None)
    expected = train(replace(make_job(data, tmp_path / "plain", *STILL, *SHORT, *changes), device=GPU))
    assert len(replays) == 7
    assert losses(found.log) == pytest.approx(losses(expected.log), rel=tolerance)
    mine, others = (load_file(tmp_path / name / LAST_FILE) for name in ("recorded", "plain"))
    for key, value in others.items():
        torch.testing.assert_close(mine[key], value, rtol=20 * tolerance, atol=20 * tolerance, msg=key)


def test_dropout_of_recorded_steps_follows_the_seed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays = count_replays(monkeypatch)
    logs = [
        train(replace(make_job(data, tmp_path / name, *SHORT, f"training.seed={seed}"), device=GPU)).log
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    ]
    assert replays
    assert losses(logs[0]) == pytest.approx(losses(logs[1]), rel=1e-4)
    assert losses(logs[0]) != pytest.approx(losses(logs[2]), rel=1e-3)


class TestSingleSteps:
    """Steps with a recorder."""

    @pytest.fixture
    def run(self, data: Path, tmp_path: Path) -> RestoredRun:
        run = restore_run(replace(make_job(data, tmp_path / "run", *STILL, *SHORT), device=GPU))
        run.parser.train()
        return run

    def step(self, run: RestoredRun, batch: Batch, *, loss: Any = None) -> float:
        terms = run.recorder.step(
            run.parser, batch, run.job.recipe, run.optimizer, run.scaler, loss=loss or run.parts.loss,
            hooks=run.parts.hooks, context=step_context(0, 0, 0, 1),
        )  # fmt: skip
        return sum(terms.values())

    def batch(self, run: RestoredRun) -> Batch:
        return run.job.clips.batch(range(8)).to(GPU)

    def test_a_loss_that_is_not_finite_changes_nothing(self, run: RestoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
        replays, batch = count_replays(monkeypatch), self.batch(run)
        first = [self.step(run, batch) for _ in range(4)]
        assert len(replays) == 3
        assert first == sorted(first, reverse=True)
        before = {key: value.clone() for key, value in run.parser.state_dict().items()}
        steps = [float(state["step"]) for state in run.optimizer.state.values()]
        broken = self.step(run, batch._replace(audio=batch.audio * torch.nan))
        assert len(replays) == 4
        assert math.isnan(broken)
        for key, value in run.parser.state_dict().items():
            assert torch.equal(value, before[key]), key
        assert [float(state["step"]) for state in run.optimizer.state.values()] == steps == [4.0] * len(steps)
        assert self.step(run, batch) < first[-1]
        assert not any(group["capturable"] for group in run.optimizer.param_groups)
        assert not hasattr(run.optimizer, "found_inf")

    def test_a_loss_that_reads_values_is_computed_without_a_recording(
        self, run: RestoredRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replays, batch = count_replays(monkeypatch), self.batch(run)

        def reading(output: Any, targets: Any) -> dict[str, Tensor]:
            terms = run.parts.loss(output, targets)
            assert all(value.item() >= 0 for value in terms.values())
            return terms

        found = [self.step(run, batch, loss=reading) for _ in range(4)]
        assert not replays
        assert found == sorted(found, reverse=True)
        assert found[0] > found[-1]
        assert torch.cuda.current_stream(GPU) == torch.cuda.default_stream(GPU)
        kept = F.dropout(torch.ones(1000, device=GPU), 0.5)  # the generator can be used
        assert 0 < int(kept.count_nonzero()) < 1000

    def test_an_update_comes_before_a_recording(self, run: RestoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
        replays, batch = count_replays(monkeypatch), self.batch(run)
        broken = batch._replace(audio=batch.audio * torch.nan)
        assert all(math.isnan(self.step(run, broken)) for _ in range(2))
        found = [self.step(run, batch) for _ in range(3)]
        assert len(replays) == 2
        assert found == sorted(found, reverse=True)
        assert {float(state["step"]) for state in run.optimizer.state.values()} == {3.0}
