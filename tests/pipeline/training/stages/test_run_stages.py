"""Stages of a run: the same bits after a kill in each of them, and what is refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from avvp.models.denoising import NoiseRatios
from avvp.models.files.checkpoint import load_checkpoint
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.errors import SetupError
from avvp.pipeline.training.distributed import Ranks
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.run_folder import BEST_FILE, CONFIG_FILE, LAST_FILE, STATE_FILE, lock_run
from avvp.pipeline.training.setup import TrainingPlan, open_data, prepare_job, start_run
from avvp.pipeline.training.stages.products import (
    RATIOS_FILE,
    RECORD_FILE,
    REMOVED_FILE,
    format_ratios,
    read_ratios,
    read_removed,
)
from avvp.pipeline.training.stages.run_stages import StageCallbacks, StageRuns, run_earlier_stages
from avvp.pipeline.training.train_parser import TrainingCallbacks, TrainingJob, check_job, restore_run, train_epochs
from safetensors.torch import load_file
from support.golden import load_npz, needs_golden
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.training import CPU

LABELS = ("Speech", "Dog", "Car", "Violin_fiddle", "Singing")
SMALL = [
    "model.hidden_dim=16", "model.feedforward_dim=16", "training.epochs=2", "training.batch_size=8",
    "training.learning_rate=1e-2", "training.clip_norm=1.0",
]  # fmt: skip
PRODUCTS = {"jomold": "2-ratios/noise_ratios.toml", "ma": "2-exchange/removed_labels.csv"}


class StopError(Exception):
    """In place of a kill."""


class Place(NamedTuple):
    """A plan with its data."""

    plan: TrainingPlan
    data: Any

    def job(self, root: Path, **changes: Any) -> TrainingJob:
        return replace(prepare_job(self.plan, self.data, root, device=CPU), **changes)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    generate(root, Data({"train": 24, "val": 6, "test": 6}, labels=LABELS, dims=(3, 5, 4)))
    return root


def place(few: Path, recipe: str, *changes: str) -> Place:
    loaded = load_recipe(recipe, [*SMALL, *changes])
    plan = TrainingPlan(annotations=few / "annotations", features=few / "features", recipe=loaded)
    return Place(plan, open_data(plan))


def advance(
    at: Place, root: Path, callbacks: StageCallbacks | None = None, last: TrainingCallbacks | None = None
) -> None:
    """Start or resume a run and train it to its end."""
    job = at.job(root)
    with lock_run(root) if (root / CONFIG_FILE).exists() else start_run(job, at.plan):
        job = run_earlier_stages(job, at.plan, at.data, callbacks=callbacks)
        train_epochs(restore_run(job, last), last)


def stop_in(epoch: int, clips: int) -> TrainingCallbacks:
    def step(current: int, done: int, _total: int, _losses: object) -> None:
        if (current, done) == (epoch, clips):
            raise StopError

    return TrainingCallbacks(step=step)


def stop_when_half_is_done(_title: str) -> Callable[[int, int], None]:
    def progress(_done: int, _total: int) -> None:
        raise StopError

    return progress


def tensors(root: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = [path for name in (BEST_FILE, LAST_FILE, STATE_FILE) for path in root.rglob(name)]
    return {str(path.relative_to(root)): load_file(path) for path in files}


@pytest.mark.parametrize("recipe", ["jomold", "ma"])
def test_a_run_killed_in_each_stage_ends_with_the_same_bits(few: Path, tmp_path: Path, recipe: str) -> None:
    at = place(few, recipe)
    advance(at, tmp_path / "whole")
    parts = tmp_path / "parts"
    in_training = StageCallbacks(training=lambda _title, _recipe: stop_in(2, 16))
    between = StageCallbacks(progress=stop_when_half_is_done)
    for callbacks, last in ((in_training, None), (between, None), (None, stop_in(1, 8)), (None, stop_in(2, 16))):
        with pytest.raises(StopError):
            advance(at, parts, callbacks, last)
    advance(at, parts)
    expected, found = tensors(tmp_path / "whole"), tensors(parts)
    assert expected.keys() == found.keys()
    assert len(expected) == 6  # two runs
    for file, whole in expected.items():
        for key, value in whole.items():
            assert torch.equal(value, found[file][key]), (file, key)
    product = PRODUCTS[recipe]
    assert (parts / "stages" / product).read_bytes() == (tmp_path / "whole" / "stages" / product).read_bytes()


def test_the_folder_of_each_stage(few: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    advance(place(few, "ma"), tmp_path / "run", StageCallbacks(info=lines.append))
    stages = tmp_path / "run" / "stages"
    assert sorted(path.name for path in stages.iterdir()) == ["1-noisy", "2-exchange"]
    config = json.loads((stages / "1-noisy" / CONFIG_FILE).read_text())
    assert config["recipe"]["name"] == "ma-noisy"
    assert "stage" not in config["recipe"]
    assert load_checkpoint(stages / "1-noisy" / BEST_FILE).record["recipe"]["name"] == "ma-noisy"
    assert len(load_checkpoint(tmp_path / "run" / BEST_FILE).record["recipe"]["stage"]) == 3
    record = json.loads((stages / "2-exchange" / RECORD_FILE).read_text())
    assert record["kind"] == "relabel"
    assert record["counts"]["labels"] > 24
    assert any("removed from the sound" in line for line in lines)
    assert lines[0].startswith("stage 1 of 3 (noisy): best epoch 2")


def test_removed_labels_are_not_targets(few: Path, tmp_path: Path) -> None:
    at = place(few, "ma", "stage.exchange.below=1000.0")
    job = at.job(tmp_path / "run")
    with start_run(job, at.plan):
        last = run_earlier_stages(job, at.plan, at.data)
    clips = last.clips
    assert clips.modality_labels is not None
    removed = read_removed(tmp_path / "run" / "stages" / "2-exchange" / REMOVED_FILE, clips, LABELS)
    assert removed.audio.sum() > 5
    assert np.array_equal(clips.modality_labels.audio, clips.video_labels & ~removed.audio)
    targets = clips.batch(np.arange(4)).targets
    assert np.array_equal(targets.audio.numpy(), clips.modality_labels.audio[:4])  # type: ignore[union-attr]
    assert np.array_equal(targets.video.numpy(), clips.video_labels[:4])  # type: ignore[union-attr]


def test_what_a_stage_made_may_not_change(few: Path, tmp_path: Path) -> None:
    at, root = place(few, "jomold", "training.epochs=1"), tmp_path / "run"
    advance(at, root)
    ratios = root / "stages" / "2-ratios" / RATIOS_FILE
    content = ratios.read_text()
    ratios.write_text(content.replace("# Share", "# A share"))
    with pytest.raises(
        SetupError, match=r"noise_ratios.toml: is missing or was changed.*--set training.noise_ratios=FILE"
    ):
        advance(at, root)
    ratios.write_text(content)
    record = ratios.with_name(RECORD_FILE)
    before = record.read_text()
    for text, message in (
        ("{", "stage.json: cannot be read"),
        (before.replace('"format": 1', '"format": 2'), "not the record of a stage"),
        (before.replace('"counts"', '"numbers"'), "counts is missing"),
        (before.replace('"network": "', '"network": "0'), "the network are not those it was made from"),
    ):
        record.write_text(text)
        with pytest.raises(SetupError, match=message):
            advance(at, root)
    record.write_text(before)
    best = root / "stages" / "1-estimator" / BEST_FILE
    best.write_bytes((root / BEST_FILE).read_bytes())
    with pytest.raises(SetupError, match="the network are not those it was made from"):
        advance(at, root)


def test_other_settings_of_a_stage_are_refused(few: Path, tmp_path: Path) -> None:
    advance(place(few, "jomold", "training.epochs=1"), tmp_path / "run")
    other = place(few, "jomold", "training.epochs=1", "stage.estimator.training.seed=3")
    with pytest.raises(SetupError, match="1-estimator: its settings are not those of the recipe"):
        advance(other, tmp_path / "run")


def test_links_out_of_the_folder_are_refused(few: Path, tmp_path: Path) -> None:
    at, root = place(few, "ma"), tmp_path / "run"
    outside = tmp_path / "outside"
    outside.mkdir()
    root.mkdir()
    (root / "stages").symlink_to(outside)
    with pytest.raises(SetupError, match="leads out of"):
        advance(at, root)
    assert not list(outside.iterdir())


def test_several_processes_are_refused(few: Path, tmp_path: Path) -> None:
    at = place(few, "ma")
    job = at.job(tmp_path, ranks=Ranks(0, 2, 0))
    with pytest.raises(SetupError, match="in one process, without torchrun"):
        StageRuns(job, at.plan, at.data)


def test_a_stage_that_cannot_be_built_is_found_first(few: Path, tmp_path: Path) -> None:
    at = place(few, "jomold", "stage.estimator.model.heads=3")
    with pytest.raises(SetupError, match="heads"):
        StageRuns(at.job(tmp_path), at.plan, at.data).check()


def test_denoising_needs_ratios_or_labels(few: Path, tmp_path: Path) -> None:
    for recipe, message in (("ma", "needs removed labels"), ("jomold", "needs noise ratios")):
        at = place(few, recipe)
        with pytest.raises(SetupError, match=message):
            restore_run(at.job(tmp_path))


def test_files_take_the_place_of_stages(few: Path, tmp_path: Path) -> None:
    """A reviewed list of removed labels, or known ratios, need no stages before them."""
    listed = tmp_path / "reviewed.csv"
    clips = place(few, "ma").data.clips["train"]
    row, column = map(int, np.argwhere(clips.video_labels)[0])
    listed.write_text(f"filename\tmodality\tevent_labels\n{clips.filenames[row]}\tvisual\t{LABELS[column]}\n")
    at = place(few, "ma", f"training.removed_labels={listed}")
    job = StageRuns(at.job(tmp_path), at.plan, at.data).last_job()
    assert job.clips.modality_labels is not None
    assert (job.clips.video_labels & ~job.clips.modality_labels.visual).sum() == 1
    ratios = tmp_path / "ratios.toml"
    ratios.write_text(
        "".join(f"[{name}]\n" + "".join(f"{label} = 0.5\n" for label in LABELS) for name in ("audio", "visual"))
    )
    at = place(few, "jomold", f"training.noise_ratios={ratios}")
    noise = StageRuns(at.job(tmp_path), at.plan, at.data).last_job().noise
    assert noise is not None
    assert noise.visual.tolist() == [0.5] * 5
    at = place(few, "jomold", "training.noise_ratios=llp")
    with pytest.raises(SetupError, match="for the 25 classes of LLP"):
        StageRuns(at.job(tmp_path), at.plan, at.data).last_job()


def test_a_stage_is_locked(few: Path, tmp_path: Path) -> None:
    at, root = place(few, "ma"), tmp_path / "run"
    job = at.job(root)
    with contextlib.ExitStack() as lock:
        lock.enter_context(start_run(job, at.plan))
        stages = StageRuns(job, at.plan, at.data)
        stages.open(0, lock)
        with pytest.raises(SetupError, match="another process"), lock_run(root / "stages" / "1-noisy"):
            pass


def test_removal_in_batches_needs_han_and_one_process(few: Path, tmp_path: Path) -> None:
    at = place(few, "jomold", "training.noise_ratios=llp")
    job = at.job(tmp_path)
    with pytest.raises(SetupError, match="train in one process, without torchrun"):
        check_job(replace(job, ranks=Ranks(0, 2, 0)))
    other = place(
        few, "jomold", "training.noise_ratios=llp", "model.encoder=mmpyr", "model.heads=4", "model.visual_dropout=0.0"
    )
    with pytest.raises(SetupError, match="passes without cross-attention, which the encoder han has"):
        other.job(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[audio]\nSpeech = 0.5\n", r"expected the tables \[audio\] and \[visual\]"),
        ("audio = 3\n[visual]\n", "audio is 3, expected a table"),
        ("[audio]\nSpeech = 0.5\n[visual]\n", r"\[audio\] has no ratio of the class 'Dog'"),
        ("[audio]\nSpeech = 0.5\nDog = 2\n[visual]\n", "'Dog' is 2, expected a number from 0 to 1"),
        ("[audio]\nSpeech = 0.5\nDog = true\n[visual]\n", "'Dog' is True, expected a number from 0 to 1"),
        ("[audio]\nSpeech = 0.5\nDog = nan\n[visual]\n", "'Dog' is nan, expected a number from 0 to 1"),
        ("[audio]\nSpeech = 0.5\nDog = 0\nCat = 0\n[visual]\n", "a class that the data do not have: 'Cat'"),
        ("[audio\n", "not a file of noise ratios"),
    ],
)
def test_bad_ratios_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ratios.toml").write_text(text)
    with pytest.raises(SetupError, match=message):
        read_ratios(str(tmp_path / "ratios.toml"), ("Speech", "Dog"))
    with pytest.raises(SetupError, match="not a file of noise ratios"):
        read_ratios(str(tmp_path / "missing.toml"), ("Speech", "Dog"))


def test_ratios_keep_every_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ratios, labels = NoiseRatios(rng.random(3), rng.random(3)), ("Speech", 'a "b" = c', "\u00e9\t#")
    (tmp_path / "ratios.toml").write_bytes(format_ratios(ratios, labels))
    found = read_ratios(str(tmp_path / "ratios.toml"), labels)
    assert np.array_equal(found.audio, ratios.audio)
    assert np.array_equal(found.visual, ratios.visual)


@needs_golden
def test_ratios_for_llp_are_the_published_ones() -> None:
    golden, found = load_npz("llp_denoising_published.npz"), read_ratios("llp", LLP_LABELS)
    assert np.array_equal(found.audio, golden["jomold_noise_audio"])
    assert np.array_equal(found.visual, golden["jomold_noise_visual"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nobody\taudio\tDog", "line 2: unknown clip 'nobody'"),
        ("NAME\tsmell\tDog", "line 2: unknown modality 'smell'"),
        ("NAME\taudio\tUnicorn", "does not have the label 'Unicorn'"),
        ("NAME\taudio", "line 2"),
    ],
)
def test_bad_lists_of_removed_labels_are_refused(few: Path, tmp_path: Path, row: str, message: str) -> None:
    clips = place(few, "ma").data.clips["train"]
    (tmp_path / "removed.csv").write_text(
        "filename\tmodality\tevent_labels\n" + row.replace("NAME", clips.filenames[0]) + "\n"
    )
    with pytest.raises(SetupError, match=f"not a file of removed labels.*{message}"):
        read_removed(tmp_path / "removed.csv", clips, LABELS)
