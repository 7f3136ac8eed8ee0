"""Memory of training: what a batch needs is known before a run starts, and errors name what to lower."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models.config import ParserConfig
from avvp.models.localizers.config import LocalizerConfig
from avvp.pipeline.errors import SetupError
from avvp.pipeline.evaluation.evaluate import score_clips
from avvp.pipeline.inference import predict
from avvp.pipeline.training import batch_memory
from avvp.pipeline.training.batch_memory import batch_bytes, check_batch_memory
from avvp.pipeline.training.train_parser import train
from support.command import Run
from support.llp_like import Recipe, generate
from support.paths import ROOT
from support.run_folders import snapshot, train_options
from support.training import CPU, make_job

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_memory_that_runs_out_names_the_option(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In the second epoch: the first stays saved, and the run can be resumed."""
    from avvp.pipeline.training import step as training_steps

    assert run(*train_options(data), "-o", tmp_path / "run", "--epochs", 1, "-q").status == 0

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(training_steps, "training_step", fail)
        result = run("train", "-o", tmp_path / "run", "--resume", "--epochs", 2)
    assert result.status == 1
    text = " ".join(result.err.split())
    assert "epoch 2: out of memory in a batch of 8 clips of up to 10 seconds" in text
    assert "is of epoch 1. Start a new run with a smaller --batch-size" in text
    assert "Traceback" not in text
    assert run("train", "-o", tmp_path / "run", "--resume", "-q").status == 0


def test_other_errors_are_not_about_memory(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("avvp.pipeline.training.step.training_step", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(make_job(data, tmp_path / "run", "training.epochs=1"))


def test_a_batch_that_memory_cannot_hold_is_refused_before_a_folder_is_made(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a control group with a limit, whose processes the system kills."""
    monkeypatch.setattr(batch_memory, "available_memory", lambda: 1 << 17)
    result = run(*train_options(data), "-o", tmp_path / "run")
    assert result.status == 2
    text = " ".join(result.err.split())
    assert "a batch of 8 clips of up to 10 seconds needs at least 0.00" in text
    assert "use a smaller --batch-size" in text
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(batch_memory, "available_memory", lambda: None)
    assert run(*train_options(data), "-o", tmp_path / "run", "--epochs", 1, "-q").status == 0
    before = snapshot(tmp_path / "run")
    monkeypatch.setattr(batch_memory, "available_memory", lambda: 0)
    assert run("train", "-o", tmp_path / "run", "--resume", "--epochs", 2).status == 2
    assert snapshot(tmp_path / "run") == before


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder": "han", "decoder": "mmil", "heads": 1},
        {"hidden_dim": 64, "feedforward_dim": 64},
        {"segments": 60},
        {"encoder": "han", "decoder": "evidence", "heads": 1, "stem": "elu", "cross_share": 0.8},
        {"encoder": "han", "decoder": "classwise", "heads": 1},
        {"encoder": "han", "decoder": "classwise", "heads": 1, "hidden_dim": 16, "feedforward_dim": 16},
        {"encoder": "han", "decoder": "mmil", "heads": 1, "hidden_dim": 16, "stem": "mlp"},
    ],
)
def test_the_quick_estimate_is_above_the_exact_one(changes: dict[str, Any]) -> None:
    config = ParserConfig(labels=tuple(map(str, range(25))), **changes)
    for size in (1, 32):
        assert batch_bytes(config, size) < batch_memory._most_bytes(config, size)


@pytest.mark.parametrize(("system", "supervision"), [("ave", "full"), ("psp", "weak"), ("cmbs", "weak")])
@pytest.mark.parametrize("changes", [{}, {"visual_dim": 4, "hidden_dim": 16, "attention_dim": 8, "segments": 60}])
def test_the_quick_estimate_of_localizers_is_above_the_exact_one(
    system: str, supervision: str, changes: dict[str, Any]
) -> None:
    labels = tuple(map(str, range(28)))
    config = LocalizerConfig(labels=labels, system=system, supervision=supervision, decoder="leap", **changes)
    assert batch_bytes(config, 8) < batch_memory._most_bytes(config, 8)


def test_attention_without_dropout_needs_much_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured for this parser, a batch of 2: 6.4 GB with, 3.1 GB without."""
    sizes: dict[str, Any] = {"hidden_dim": 16, "feedforward_dim": 16, "heads": 2, "leap_heads": 2, "levels": 2}
    config = ParserConfig(labels=("a", "b"), segments=3600, **sizes)
    monkeypatch.setattr(batch_memory, "available_memory", lambda: 3 << 30)
    with pytest.raises(SetupError, match=r"needs at least 5\.\d GB of memory, and 3\.2 GB are left"):
        check_batch_memory(config, 2, 100)
    check_batch_memory(replace(config, attention_dropout=0.0), 2, 100)


LIMITED = """
import resource, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from support.training import make_job
from avvp.pipeline.training.train_parser import train
job = make_job(Path({data!r}), Path({root!r}), "training.epochs=1", "training.batch_size=4", recipe="han")
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
try:
    train(job)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of an hour, with very narrow features."""
    root = tmp_path_factory.mktemp("hour")
    generate(root, Recipe({"train": 4, "val": 2, "test": 2}, labels=("Speech", "Dog"), dims=(2, 2, 2), segments=3600))
    return root


def test_a_real_limit_of_memory_ends_with_the_same_message(hour: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    code = LIMITED.format(paths=[str(ROOT / "tests")], data=str(hour), root=str(tmp_path / "run"))
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.startswith("TrainingError epoch 1: out of memory in a batch of 4 clips of up to 3600"), result
    assert "smaller --batch-size" in result.stdout


def test_an_hour_is_trained_on_and_scored(hour: Path, tmp_path: Path) -> None:
    changes = ("model.hidden_dim=4", "model.feedforward_dim=4", "model.heads=1", "model.attention_dropout=0.0")
    job = make_job(hour, tmp_path / "run", *changes, "training.epochs=1", "training.batch_size=2", recipe="han")
    job = replace(job, config=replace(job.config, segments=3600))
    state = train(job)
    assert np.isfinite(state.log[0]["losses"]["total"])
    assert state.log[0]["validation"]["mean"] >= 0


def test_clips_longer_than_the_window_are_scored(hour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser of 10 s scores an hour in windows, in batches of any size."""
    job = make_job(hour, tmp_path / "run", recipe="han")
    from avvp.models.parser import build_parser

    torch.manual_seed(1)
    assert isinstance(job.config, ParserConfig)
    parser = build_parser(job.config, job.label_embeddings)
    assert job.validation is not None
    assert parser.config.segments == 10
    scores = score_clips(parser, job.validation, CPU)
    monkeypatch.setattr(predict, "_MAX_BATCH_SEGMENTS", 50)
    assert score_clips(parser, job.validation, CPU) == scores
