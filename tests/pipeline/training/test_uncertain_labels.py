"""Training with soft labels, class balance, mixup and recombined clips, through the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models import AVParser
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.errors import SetupError
from avvp.pipeline.training.batches.build import build_hooks
from avvp.pipeline.training.batches.hooks import step_context
from avvp.pipeline.training.distributed import BatchShare, Ranks
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.recipe_parts import loss_of_epoch
from avvp.pipeline.training.tasks import task_of
from avvp.pipeline.training.train_parser import TrainingCallbacks, check_job, restore_run, train, train_epochs
from safetensors.torch import load_file
from support.command import Run
from support.run_folders import LABELS, Killed, train_options, write_data
from support.soft_scores import write_scores
from support.training import make_job

UWAV = ("--recipe", "uwav", "--set", "model.stem_hidden_dim=8", "--set", "model.layers=1", "--epochs", "1")
ALL = (
    "training.recombine=0.5", "objective.class_balance=0.5", "objective.mixup_alpha=1.7", "objective.union=soft",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_data(tmp_path_factory.mktemp("data"))
    write_scores(root / "pseudo_labels", LABELS)
    return root


def losses_of(root: Path) -> dict[str, float]:
    return json.loads((root / "log.jsonl").read_text().splitlines()[0])["losses"]


def test_uwav(run: Run, data: Path, tmp_path: Path) -> None:
    assert run(*train_options(data), *UWAV, "-o", tmp_path / "run", "-q").status == 0
    assert set(losses_of(tmp_path / "run")) == {
        "video", "audio_segment", "visual_segment", "audio_segment_mixup", "visual_segment_mixup", "total",
    }  # fmt: skip


def test_leap_uwav(run: Run, data: Path, tmp_path: Path) -> None:
    options = ("--recipe", "leap-uwav", "--epochs", "1", "-o", tmp_path / "run", "-q")
    assert run(*train_options(data), *options).status == 0
    losses = losses_of(tmp_path / "run")
    assert {"video_mixup", "audio_segment_mixup", "visual_segment_mixup"} < set(losses)
    assert all(np.isfinite(value) for value in losses.values())


def test_soft_labels_need_scores(run: Run, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("pseudo_labels.json"))
    result = run(*train_options(tmp_path / "data"), *UWAV, "-o", tmp_path / "run")
    assert result.status == 2
    assert "soft targets need the scores and the record that avvp pseudo-label writes" in result.err
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_with_the_scores_it_was_started_with(run: Run, data: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(data, tmp_path / "data")
    options = ("--set", "training.schedule=step")
    assert run(*train_options(copied), *UWAV, *options, "-o", tmp_path / "run", "-q").status == 0
    score = next((copied / "pseudo_labels" / "CLAP" / "scores").glob("*.npy"))
    np.save(score, np.load(score) + np.float32(0.5))
    result = run("train", "--resume", "-o", tmp_path / "run", "--epochs", "2")
    assert result.status == 2
    assert "the scores of the training clips are not those this run was started with" in result.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("objective.mutual_weight=1.0", "objective.mutual_weight is for the decoder evidence, not for leap"),
        ("objective.token_weight=1.0", "objective.token_weight is for the decoder groups"),
        ("objective.across_weight=1.0", "objective.across_weight is for the decoder mmil or classwise"),
        ("training.recombine=1.5", "recombine is 1.5, a share of the clips"),
    ],
)
def test_what_does_not_fit_is_refused(run: Run, data: Path, tmp_path: Path, change: str, message: str) -> None:
    result = run(*train_options(data), "--set", change, "-o", tmp_path / "run")
    assert result.status == 2
    assert message in result.err


def test_recombination_is_for_video_parsing() -> None:
    with pytest.raises(SetupError, match=r"training\.recombine is for task avvp"):
        load_recipe("ave", ["training.recombine=0.5"])


def test_a_killed_run_ends_like_one_that_was_not(data: Path, tmp_path: Path) -> None:
    """Recombined clips and mixed videos are drawn again as before."""
    train(make_job(data, tmp_path / "whole", *ALL, "training.epochs=2", "training.batch_size=8"))
    job = make_job(data, tmp_path / "part", *ALL, "training.epochs=2", "training.batch_size=8")

    def kill(epoch: int, done: int, *_: object) -> None:
        if (epoch, done) == (2, 16):
            raise Killed

    with pytest.raises(Killed):
        train(job, TrainingCallbacks(step=kill))
    train_epochs(restore_run(job))
    whole, part = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(whole[key], part[key]) for key in whole)


def test_hooks_are_those_of_the_settings(data: Path, tmp_path: Path) -> None:
    assert build_hooks(load_recipe("leap-published").objective, 0.0).augment is None
    assert build_hooks(load_recipe("ave").objective, 0.0).extra_terms is None
    weak = ["objective.across_weight=0.85", "objective.across_after=2", "objective.smoothing_epochs=2"]
    recipe = load_recipe("mmpyr", weak)
    augment = build_hooks(recipe.objective, 0.0).augment
    assert augment is not None
    batch = make_job(data, tmp_path / "run").clips.batch([0, 1, 2])
    early, late = (augment(batch, step_context(1, epoch, 0, 3)) for epoch in (1, 2))
    assert isinstance(early.targets, Targets)
    assert isinstance(late.targets, Targets)
    assert early.targets.partners is None
    assert late.targets.partners is not None
    assert len(late.audio) == 6
    loss = loss_of_epoch(recipe, lambda *_: {}, 2)
    assert loss.keywords["objective"].visual_smoothing == 0  # pyright: ignore[reportFunctionMemberAccess]


def test_terms_of_several_processes_add_up(data: Path, tmp_path: Path) -> None:
    """Parts with other numbers of seconds; soft labels, balanced classes and the alignment of seconds."""
    changes = ("objective.segment_targets=soft", "objective.class_balance=0.5", "objective.alignment=jomold",
               "objective.alignment_weight=1.0", "model.dropout=0.0", "model.attention_dropout=0.0")  # fmt: skip
    job = make_job(data, tmp_path / "run", *changes)
    annotations, features = read_annotations(data / "annotations"), job.clips.features
    clips = task_of(job.recipe).load_clips(annotations, "train", features, data / "pseudo_labels", job.recipe)
    lengths = np.array([10, 3, 7, 1, 10, 2, 9, 5])
    parser = restore_run(job).parser
    assert isinstance(parser, AVParser)
    batch = clips.batch(np.arange(8))

    def terms_of(rows: np.ndarray) -> dict[str, torch.Tensor]:
        index = torch.from_numpy(rows)
        output = parser(*(stream[index] for stream in batch.features), lengths=torch.from_numpy(lengths[rows]))
        targets = batch.targets
        assert isinstance(targets, Targets)
        tables = {
            name: table if name.endswith("frequency") else table[index]
            for name, table in targets._asdict().items()
            if table is not None
        }
        assert isinstance(job.recipe.objective, Objective)
        return objective_terms(output, targets._replace(**tables), job.recipe.objective)

    chunk, means = np.arange(8), task_of(job.recipe).means(job.config)
    whole = terms_of(chunk)
    assert {"alignment", "audio_segment"} < set(whole)
    parts = [BatchShare(Ranks(rank, 3), lengths, (), means).weigh(terms_of(chunk[rank::3])) for rank in range(3)]
    total = torch.stack([part for part in parts if part is not None]).sum(0)
    torch.testing.assert_close(total, torch.stack(list(whole.values())), rtol=1e-5, atol=1e-6)


def test_the_contrast_across_videos_needs_one_process(data: Path, tmp_path: Path) -> None:
    job = make_job(data, tmp_path / "run", "objective.across_weight=1.0", recipe="mmpyr")
    with pytest.raises(SetupError, match="compares all clips of a batch: train in one process, without torchrun"):
        check_job(replace(job, ranks=Ranks(0, 2)))


def test_frequencies_are_of_the_training_split(data: Path, tmp_path: Path) -> None:
    clips = make_job(data, tmp_path / "run").clips
    assert clips.frequencies is not None
    assert read_annotations(data / "annotations").labels == LABELS
    np.testing.assert_allclose(clips.frequencies.visual, clips.segment_labels.visual.mean(axis=(0, 1)), rtol=1e-6)


def test_shipped_recipes() -> None:
    for name in ("uwav", "leap-uwav"):
        objective = load_recipe(name).objective
        assert isinstance(objective, Objective)
        found = (objective.segment_targets, objective.soft_temperature, objective.class_balance, objective.mixup_alpha)
        assert found == ("soft", 2.0, 0.5, 1.7)
    assert "our own design" in load_recipe("leap-uwav").description
