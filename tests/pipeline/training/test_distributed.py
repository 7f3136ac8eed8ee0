"""Training in several processes: the result of one, who writes, what happens when one of them ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.localization import annotated_targets
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features.npy_folders import FeatureSource
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.files import exclusive_lock
from avvp.pipeline.training.distributed import (
    BatchShare,
    Ranks,
    ReportedError,
    check_processes,
    join_processes,
    process_count,
)
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.recipe_parts import build_recipe_network, embedding_labels, load_parts
from avvp.pipeline.training.tasks import network_config, task_of
from avvp.pipeline.training.train_parser import restore_run
from safetensors.torch import load_file
from support.ave_like import AveLike
from support.command import Run
from support.event_runs import CMBS_SETTINGS, SETTINGS, event_options, write_event_data
from support.processes import Started, start_two
from support.run_folders import train_options
from support.training import make_job

TOLERANCE = 2e-6  # of losses, and of the mean parameter: sums are split differently
LARGEST = 1e-4  # of any parameter: Adam divides a gradient by its size, however close to 0 it is
NO_DROPOUT = ("--set", "model.dropout=0.0", "--set", "model.attention_dropout=0.0", "--threads", "1")
SECONDS = 120  # on a busy machine


class Processes:
    """Pairs of processes, which end with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[Started] = []

    def start(self, *arguments: object) -> list[Started]:
        started = start_two(self._folder, *arguments)
        self._all += started
        return started

    def run(self, *arguments: object) -> list[tuple[int | None, str]]:
        """Exit status and messages of each process."""
        return [one.end(SECONDS) for one in self.start(*arguments)]

    def end(self) -> None:
        for one in self._all:
            one.kill()
            one.process.join()


class Cut:
    """Features of which the first seconds are left."""

    def __init__(self, source: FeatureSource, lengths: dict[str, int]) -> None:
        self.spec, self.frames = source.spec, source.frames
        self.ids, self.lengths, self.release = source.ids, source.lengths, source.release
        self._source, self._lengths = source, lengths

    def read(self, clip_id: str) -> np.ndarray:
        return self._source.read(clip_id)[: self._lengths[clip_id]]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> AveLike:
    return write_event_data(tmp_path_factory.mktemp("events"))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    pairs = Processes(tmp_path)
    yield pairs
    pairs.end()


def differences(one: Path, other: Path) -> torch.Tensor:
    """Absolute differences of all parameters."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    return torch.cat([(first[key].double() - second[key].double()).abs().reshape(-1) for key in first])


def losses(root: Path) -> list[float]:
    lines = (root / "log.jsonl").read_text().splitlines()
    return [value for line in lines for value in json.loads(line)["losses"].values()]


def test_two_processes_give_the_result_of_one(run: Run, data: Path, tmp_path: Path) -> None:
    """By torchrun itself; the last batch has one clip, so that a process has none of it."""
    options = [*train_options(data), *NO_DROPOUT, "--batch-size", 19, "--epochs", 3, "--set", "training.clip_norm=1"]
    assert run(*options, "-o", tmp_path / "one", "-q").status == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "avvp"]
    command = [*torchrun, *map(str, options), "-o", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("2 processes, each with a part of every batch of 19") == 1
    assert ended.stderr.count("best epoch") == 1
    for name in ("last.safetensors", "best.safetensors"):
        found = differences(tmp_path / "one" / name, tmp_path / "two" / name)
        assert found.mean() < TOLERANCE / 100
        assert found.max() < LARGEST
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=TOLERANCE)
    files = {path.name for path in (tmp_path / "two").iterdir()}
    assert files == {path.name for path in (tmp_path / "one").iterdir()}
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    one, two = (load_file(tmp_path / name / "state.safetensors")["clips.train"] for name in ("one", "two"))
    assert torch.equal(one, two)  # hashes of features that either process has read


def test_a_run_of_two_processes_is_resumed(processes: Processes, run: Run, data: Path, tmp_path: Path) -> None:
    options = [*train_options(data), "--threads", 1]  # with dropout
    for arguments in (
        [*options, "-o", tmp_path / "whole", "--epochs", 2],
        [*options, "-o", tmp_path / "parts", "--epochs", 1],
        ["train", "-o", tmp_path / "parts", "--resume", "--epochs", 2, "--device", "cpu", "--threads", 1],
    ):
        assert [status for status, _ in processes.run(*arguments, "-q")] == [0, 0]
    assert not differences(tmp_path / "whole" / "last.safetensors", tmp_path / "parts" / "last.safetensors").any()
    alone = run("train", "-o", tmp_path / "parts", "--resume", "--epochs", 3, "--device", "cpu")
    assert alone.status == 0, alone.err
    assert "started with 2 processes and is resumed with 1" in alone.err


@pytest.mark.parametrize("killed", [0, 1])
def test_when_a_process_is_killed_the_other_ends_with_a_message(
    processes: Processes, data: Path, tmp_path: Path, killed: int
) -> None:
    started = processes.start(*train_options(data), "-o", tmp_path / "run", "--epochs", 5000, "-q")
    end = time.monotonic() + SECONDS
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.05)
    started[killed].kill()
    status, text = started[1 - killed].end(SECONDS)
    assert status == 1
    line = text.strip().splitlines()[-1]
    assert re.match("Error: (process 1: )?another process of this run has ended, or cannot be reached", line), text
    assert ("process 1: " in line) == (killed == 0)
    assert "Traceback" not in text
    if killed == 1:
        assert not list((tmp_path / "run").glob(".avvp-*.part"))


def test_an_error_is_reported_once(processes: Processes, data: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    with exclusive_lock(root):
        (first, text), (second, silent) = processes.run(*train_options(data), "-o", root, "--epochs", 1, "-q")
    assert (first, second) == (2, 2)
    assert "in use by another process" in text
    assert not silent
    assert not list(root.iterdir())


def test_parts_of_a_batch_add_up(data: Path, tmp_path: Path) -> None:
    """Terms and gradients of clips of different lengths, computed in three parts."""
    job = make_job(data, tmp_path / "run", "objective.union=soft", "model.dropout=0.0", "model.attention_dropout=0.0")
    lengths = np.resize(np.array([10, 3, 7, 1]), len(job.clips))

    class Shorter:
        spec, frames = job.clips.features.spec, False

        def read(self, name: str) -> np.ndarray:
            return job.clips.features.read(name)[: lengths[job.clips.ids.index(name)]]

    clips = replace(job.clips, lengths=lengths, features=Shorter())  # pyright: ignore[reportArgumentType]
    parser, objective = restore_run(job).parser.train(), job.recipe.objective
    assert isinstance(objective, Objective)

    def terms_of(indices: np.ndarray) -> dict[str, torch.Tensor]:
        batch = clips.batch(indices)
        output = parser(*batch.features, lengths=batch.lengths)
        assert isinstance(batch.targets, Targets)
        return objective_terms(output, batch.targets, objective)

    chunk, means = np.arange(8), task_of(job.recipe).means(job.config)
    whole = terms_of(chunk)
    assert {"similarity", "audio_segment", "video"} <= whole.keys()
    sum(whole.values(), torch.zeros(())).backward()
    expected = {name: p.grad.clone() for name, p in parser.named_parameters() if p.grad is not None}
    parser.zero_grad()
    total = torch.zeros(len(whole))
    for rank in range(3):
        ranks = Ranks(rank, 3)
        weighed = BatchShare(ranks, lengths[chunk], (), means).weigh(terms_of(ranks.share(chunk)))
        assert weighed is not None
        weighed.sum().backward()
        total += weighed.detach()
    assert torch.allclose(total, torch.stack(list(whole.values())), atol=1e-5)
    for name, parameter in parser.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, expected[name], atol=1e-5), name


@pytest.mark.parametrize("name", ["psp-leap", "cmbs", "cmbs-leap", "ave-weak-leap", "psp-weak"])
def test_terms_of_localizers_add_up_for_clips_of_any_length(events: AveLike, name: str) -> None:
    """Terms over seconds and over pairs of seconds, of which the processes have different numbers."""
    recipe = load_recipe(name, [*map("model.{}".format, (*SETTINGS, *CMBS_SETTINGS)), "training.noisy_clips=false"])
    annotations, features = read_annotations(events.annotations), open_features(events.features)
    clips = task_of(recipe).load_clips(annotations, "train", features, None, recipe)
    lengths = np.array([10, 3, 7, 1, 10, 2, 9, 5, *[10] * (len(clips) - 8)])
    targets = annotated_targets(annotations, annotations.split("train"), lengths)
    clips = replace(
        clips, lengths=lengths, events=targets, features=Cut(features, dict(zip(clips.ids, lengths, strict=True)))
    )
    config = network_config(recipe, annotations.labels, features.spec, 10, 6)
    torch.manual_seed(0)
    network = build_recipe_network(recipe, config, torch.randn(len(embedding_labels(config)), 6)).eval()
    loss, means = load_parts(recipe, config).loss, task_of(recipe).means(config)

    def terms_of(indices: np.ndarray) -> dict[str, torch.Tensor]:
        batch = clips.batch(indices)
        return loss(network(*batch.features, lengths=batch.lengths), batch.targets)

    chunk = np.arange(8)
    whole = terms_of(chunk)
    parts = [BatchShare(Ranks(rank, 3), lengths[chunk], (), means).weigh(terms_of(chunk[rank::3])) for rank in range(3)]
    total = torch.stack([part for part in parts if part is not None]).sum(0)
    assert torch.allclose(total, torch.stack(list(whole.values())), rtol=1e-5), (name, list(whole))


def test_two_processes_train_a_localizer_as_one_does(
    processes: Processes, run: Run, events: AveLike, tmp_path: Path
) -> None:
    options = ["train", "--recipe", "psp", *event_options(events), *NO_DROPOUT, "--batch-size", 11, "--epochs", 2, "-q"]
    assert run(*options, "-o", tmp_path / "one").status == 0
    assert [status for status, _ in processes.run(*options, "-o", tmp_path / "two")] == [0, 0]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)  # of 100 times a mean
    assert differences(tmp_path / "one" / "last.safetensors", tmp_path / "two" / "last.safetensors").max() < LARGEST


def test_share_and_seeds() -> None:
    batch = np.arange(5)
    parts = [Ranks(rank, 2).share(batch).tolist() for rank in range(2)]
    assert parts == [[0, 2, 4], [1, 3]]
    assert Ranks(1, 2).share(np.arange(1)).tolist() == []
    assert Ranks(0, 2).seed_offset == 0
    assert Ranks(1, 2).seed_offset > 10_000  # no epoch of the first process has this seed


@pytest.mark.parametrize("rank", ["x", "5"])
def test_variables_that_are_not_torchrun_s_are_reported(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    result = run(*train_options(data), "-o", tmp_path / "run")
    assert result.status == 2
    assert result.err.startswith("Error: RANK")


def test_process_count() -> None:
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    assert process_count(place) == 2
    assert process_count({"RANK": "0", "WORLD_SIZE": "8"}) == 1  # set by another program
    for name, value in {"RANK": "2", "WORLD_SIZE": "two", "LOCAL_RANK": "-1"}.items():
        with pytest.raises(SetupError, match="RANK"):
            process_count({**place, name: value})


def test_more_processes_than_clips_are_refused() -> None:
    check_processes(Ranks(0, 4), 4, 100)
    with pytest.raises(SetupError, match="5 processes for batches of 4 clips"):
        check_processes(Ranks(0, 5), 4, 100)
    with pytest.raises(SetupError, match="batches of 3 clips"):
        check_processes(Ranks(0, 4), 4, 3)


def test_one_device_for_several_processes_is_refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, kind in enumerate((SetupError, ReportedError)):
        place = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "x", "MASTER_PORT": 1}
        for name, value in place.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(kind, match="--device cuda:0 is one device"):
            join_processes("cuda:0")
