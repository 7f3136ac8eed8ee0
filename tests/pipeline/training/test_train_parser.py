"""Training: learning, bit-exact resuming, and failures that keep the last epoch."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import load_checkpoint
from avvp.models.parser import AVParser
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import load_clips
from avvp.pipeline.errors import OutputError, SetupError, TrainingError
from avvp.pipeline.evaluation.evaluate import score_clips
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.features.packing import pack_features
from avvp.pipeline.files import exclusive_lock
from avvp.pipeline.inference.predict import predict_clips
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.metrics import score
from avvp.pipeline.training.run_folder import BEST_FILE, LAST_FILE, LOG_FILE, STATE_FILE
from avvp.pipeline.training.train_parser import TrainingCallbacks, TrainingJob, train
from avvp.pipeline.training.training_state import load_training_state
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.golden import LLP
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.paths import ROOT
from support.training import CPU, WEAK, clips_of, make_job

LABELS = ("Speech", "Dog", "Car", "Violin_fiddle", "Singing", "Cello", "Banjo", "Helicopter")
COMBINATIONS = [(encoder, decoder) for encoder in ("mmpyr", "han") for decoder in ("leap", "mmil")]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough clips for a loop to go round."""
    root = tmp_path_factory.mktemp("few")
    generate(root, Data({"train": 20, "val": 6, "test": 6}, labels=LABELS[:3], dims=(3, 5, 4)))
    return root


def weights(root: Path, name: str = LAST_FILE) -> dict[str, torch.Tensor]:
    return load_file(root / name)


def with_epochs(job: TrainingJob, epochs: int) -> TrainingJob:
    return replace(job, recipe=replace(job.recipe, training=replace(job.recipe.training, epochs=epochs)))


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert set(one) == set(other)
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_resumed_training_equals_uninterrupted_training(few: Path, tmp_path: Path, encoder: str, decoder: str) -> None:
    """N + M epochs and N, resume, M: the same bits, optimizer and best epoch included."""
    changes = (
        f"model.encoder={encoder}",
        f"model.decoder={decoder}",
        "training.batch_size=8",
        "training.step_epochs=2",
    )
    whole = make_job(few, tmp_path / "whole", *changes, "training.epochs=4")
    train(whole)
    first = make_job(few, tmp_path / "parts", *changes, "training.epochs=4")
    train(with_epochs(first, 2))
    progress = train(first)
    assert progress.epochs == 4
    for name in (LAST_FILE, BEST_FILE, STATE_FILE):
        assert_same(weights(tmp_path / "whole", name), weights(tmp_path / "parts", name))
    logs = [
        [json.loads(line) for line in (tmp_path / run / LOG_FILE).read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    for one, other in zip(*logs, strict=True):
        assert {**one, "seconds": 0, "clips_per_second": 0} == {**other, "seconds": 0, "clips_per_second": 0}


def test_train_leaves_a_finished_run_unchanged(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path / "run", "training.epochs=1")
    train(job)
    before = (tmp_path / "run" / STATE_FILE).read_bytes()
    assert train(job).epochs == 1
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == before


def test_train_repeats_an_interrupted_epoch(few: Path, tmp_path: Path) -> None:
    whole = make_job(few, tmp_path / "whole", "training.epochs=2", "training.batch_size=8")
    train(whole)

    def stop(epoch: int, done: int, _total: int, _losses: object) -> None:
        if (epoch, done) == (2, 16):
            raise KeyboardInterrupt

    part = make_job(few, tmp_path / "part", "training.epochs=2", "training.batch_size=8")
    with pytest.raises(KeyboardInterrupt):
        train(part, TrainingCallbacks(step=stop))
    assert load_training_state(tmp_path / "part").epochs == 1
    train(part)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "part"))


def test_packed_features_train_to_the_same_parameters(few: Path, tmp_path: Path) -> None:
    if not (few / "packed").exists():
        pack_features(FeatureFolders(few / "features"), few / "packed")
        pack_features(FeatureFolders(few / "features"), few / "packed16", dtype="float16")
    runs = {}
    for form in ("features", "packed", "packed16"):
        train(make_job(few, tmp_path / form, "training.epochs=1", features=form))
        runs[form] = weights(tmp_path / form)
    assert_same(runs["features"], runs["packed"])
    for key, value in runs["features"].items():
        torch.testing.assert_close(value, runs["packed16"][key], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("recipe", ["leap-published", "leap-paper", "han", "mmpyr", "valor"])
def test_every_recipe_trains(few: Path, tmp_path: Path, recipe: str) -> None:
    progress = train(make_job(few, tmp_path / "run", "training.epochs=2", recipe=recipe))
    losses = [record["losses"]["total"] for record in progress.log]
    assert all(np.isfinite(losses))
    checkpoint = load_checkpoint(tmp_path / "run" / BEST_FILE)
    assert checkpoint.record["recipe"]["name"] == recipe
    assert checkpoint.feature_spec["dims"] == [3, 5, 4]


def test_pseudo_labels_are_required_unless_targets_are_weak(few: Path, tmp_path: Path) -> None:
    weak = load_clips(read_annotations(few / "annotations"), "train", open_features(few / "features"))
    changes = [f"objective.{name}={value}" for name, value in WEAK.items()]
    train(replace(make_job(few, tmp_path / "weak", "training.epochs=1", *changes), clips=weak))
    with pytest.raises(SetupError, match="--pseudo-labels"):
        train(replace(make_job(few, tmp_path / "strong", "training.epochs=1"), clips=weak))


def test_an_objective_without_gradient_is_refused(few: Path, tmp_path: Path) -> None:
    names = ("audio", "visual", "audio_segment", "visual_segment", "similarity")
    alone_ = [f"objective.{name}_weight=0.0" for name in names]
    with pytest.raises(SetupError, match="has no gradient"):
        train(make_job(few, tmp_path / "hard", "training.epochs=1", *alone_))
    assert train(make_job(few, tmp_path / "soft", "training.epochs=1", "objective.union=soft", *alone_)).epochs == 1


def test_training_log_and_callbacks(few: Path, tmp_path: Path) -> None:
    records: list[dict] = []
    steps: list[tuple[int, int, int]] = []
    callbacks = TrainingCallbacks(
        step=lambda *step: steps.append(step[:3]), epoch=lambda record: records.append(dict(record))
    )
    progress = train(make_job(few, tmp_path / "run", "training.epochs=2", "training.batch_size=8"), callbacks)
    assert steps == [(epoch, done, 20) for epoch in (1, 2) for done in (8, 16, 20)]
    written = [json.loads(line) for line in (tmp_path / "run" / LOG_FILE).read_text().splitlines()]
    assert written == json.loads(json.dumps(records)) == json.loads(json.dumps(progress.log))
    record = written[0]
    terms = {name: value for name, value in record["losses"].items() if name != "total"}
    assert set(terms) == {"audio", "visual", "video", "visual_segment", "audio_segment", "similarity"}
    assert record["losses"]["total"] == pytest.approx(sum(terms.values()))
    assert record["validation"]["segment"].keys() >= {"audio", "type_av"}
    best = max(written, key=lambda entry: (entry["validation"]["segment"]["type_av"], entry["epoch"]))
    assert progress.best_epoch == best["epoch"]
    assert load_checkpoint(tmp_path / "run" / BEST_FILE).record["epoch"] == best["epoch"]


def test_without_validation_clips_the_last_epoch_is_the_best(few: Path, tmp_path: Path) -> None:
    progress = train(make_job(few, tmp_path / "run", "training.epochs=3", val=False))
    assert progress.best_epoch == 3
    assert_same(weights(tmp_path / "run", BEST_FILE), weights(tmp_path / "run", LAST_FILE))


def test_training_is_reproducible_by_seed(few: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(make_job(few, tmp_path / name, "training.epochs=1", f"training.seed={seed}"))
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(weights(tmp_path / "a")["stem.audio.weight"], weights(tmp_path / "c")["stem.audio.weight"])


def test_gradients_are_clipped_to_a_norm(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a plain step of size 1 the parameters move by the clipped gradient."""
    job = make_job(few, tmp_path / "run", "training.epochs=1", "training.batch_size=20", "training.clip_norm=0.5")
    before: dict[str, torch.Tensor] = {}

    def plain(_schedule: object, parser: AVParser) -> torch.optim.Optimizer:
        before.update({name: value.detach().clone() for name, value in parser.named_parameters()})
        return torch.optim.SGD(parser.parameters(), lr=1.0)

    monkeypatch.setattr("avvp.pipeline.training.train_parser.make_optimizer", plain)
    monkeypatch.setattr("avvp.pipeline.training.settings.training_config.TrainingConfig.rate", lambda *_: 1.0)
    train(job)
    after = weights(tmp_path / "run")
    moved = torch.stack([(after[name] - value).square().sum() for name, value in before.items()]).sum().sqrt()
    assert moved.item() == pytest.approx(0.5, rel=1e-3)


def test_half_precision_is_close_to_float32(few: Path, tmp_path: Path) -> None:
    totals = {}
    for precision in ("fp32", "bf16"):
        changes = (
            "training.epochs=2",
            f"training.precision={precision}",
            "model.dropout=0.0",
            "model.attention_dropout=0.0",
        )
        totals[precision] = train(make_job(few, tmp_path / precision, *changes)).log[-1]["losses"]["total"]
    assert totals["bf16"] != totals["fp32"]
    assert totals["bf16"] == pytest.approx(totals["fp32"], rel=0.1)
    assert weights(tmp_path / "bf16")["stem.audio.weight"].dtype == torch.float32
    with pytest.raises(SetupError, match="fp16 needs a GPU"):
        train(make_job(few, tmp_path / "fp16", "training.precision=fp16"))


def test_clips_of_different_lengths_train(tmp_path: Path) -> None:
    generate(tmp_path, Data({"train": 12, "val": 4, "test": 4}, labels=LABELS[:3], dims=(3, 5, 4)))
    ids = clips_of(tmp_path, "train").ids
    for place, seconds in ((0, 3), (4, 7)):
        for folder, rate in (("vggish_tiny", 1), ("resnet_tiny", 8), ("r2plus1d_tiny", 1)):
            path = tmp_path / "features" / folder / f"{ids[place]}.npy"
            np.save(path, np.load(path)[: seconds * rate])
        for model in ("CLIP", "CLAP"):
            path = tmp_path / "pseudo_labels" / model / "segment_pseudo_labels" / f"{ids[place]}.npy"
            np.save(path, np.load(path)[:seconds])
    progress = train(make_job(tmp_path, tmp_path / "run", "training.epochs=1", "training.batch_size=4"))
    assert np.isfinite(progress.log[0]["losses"]["total"])


def test_non_finite_loss_stops_training_and_keeps_the_last_epoch(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path / "run", "training.epochs=3", "training.batch_size=8")
    train(with_epochs(job, 1))
    kept = {name: (tmp_path / "run" / name).read_bytes() for name in (LAST_FILE, BEST_FILE, STATE_FILE)}
    original = AVParser.forward

    def poison(self: AVParser, audio: torch.Tensor, *rest: Any, **options: Any) -> Any:
        return original(self, audio * float("nan"), *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AVParser, "forward", poison)
        with pytest.raises(TrainingError) as error:
            train(job)
    message = str(error.value)
    assert "epoch 2: the loss is not finite (term audio" in message
    assert "after 0 clips" in message
    assert "last.safetensors is of epoch 1" in message
    assert kept == {name: (tmp_path / "run" / name).read_bytes() for name in kept}
    assert train(job).epochs == 3


def test_non_finite_parameters_are_not_saved(few: Path, tmp_path: Path) -> None:
    """The loss was a number before the update; the next one would come an epoch too late."""
    job = make_job(few, tmp_path / "run", "training.epochs=3", "training.batch_size=20")
    train(with_epochs(job, 1))
    kept = {name: (tmp_path / "run" / name).read_bytes() for name in (LAST_FILE, BEST_FILE, STATE_FILE)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avvp.pipeline.training.settings.training_config.TrainingConfig.rate", lambda *_: float("inf"))
        with pytest.raises(TrainingError, match="epoch 2: its last update left parameters that are not finite"):
            train(job)
    assert kept == {name: (tmp_path / "run" / name).read_bytes() for name in kept}
    assert train(job).epochs == 3


def test_two_processes_do_not_train_in_one_folder(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path / "run", "training.epochs=1")
    with exclusive_lock(tmp_path / "run"), pytest.raises(SetupError, match="in use by another process"):
        train(job)
    (tmp_path / "run" / ".avvp-left.part").write_bytes(b"half")
    train(job)
    assert not list((tmp_path / "run").glob(".avvp-*"))


def test_full_disk_keeps_the_last_epoch(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(few, tmp_path / "run", "training.epochs=3")
    train(with_epochs(job, 1))

    def full(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    kept = (tmp_path / "run" / STATE_FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device"):
            train(job)
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == kept
    assert not list((tmp_path / "run").glob(".avvp-*"))
    assert train(job).epochs == 3


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
from support.training import make_job
torch.set_num_threads({threads})
from avvp.pipeline.training.train_parser import train
fsync, calls = os.fsync, [0]
def dying(descriptor):
    calls[0] += 1
    if calls[0] == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = dying
train(make_job(Path({data!r}), Path({root!r}), "training.epochs=3"))
"""


@pytest.mark.parametrize("call", [2, 7, 8, 13])
def test_training_killed_while_writing_a_checkpoint_resumes(few: Path, tmp_path: Path, call: int) -> None:
    """After each epoch four files are written, each with two syncs; wherever it is cut off, resuming gives the same."""
    train(make_job(few, tmp_path / "whole", "training.epochs=3"))
    root = tmp_path / "run"
    paths, threads = [str(ROOT / "tests")], torch.get_num_threads()
    code = KILLED.format(paths=paths, threads=threads, call=call, data=str(few), root=str(root))
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    for name in (LAST_FILE, BEST_FILE):
        if (root / name).exists():
            load_checkpoint(root / name)
    assert load_training_state(root).epochs < 3 if (root / STATE_FILE).exists() else call < 8
    train(make_job(few, root, "training.epochs=3"))
    for name in (LAST_FILE, BEST_FILE, STATE_FILE):
        assert_same(weights(tmp_path / "whole", name), weights(root, name))


def drop_optimizer(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    kept = {key: value for key, value in load_file(path).items() if not key.startswith("optimizer.")}
    save_file(kept, path, metadata=metadata)


@pytest.mark.parametrize(
    ("changes", "spoil", "message"),
    [
        (("model.hidden_dim=16",), None, "belongs to another parser"),
        ((), lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be resumed from"),
        ((), lambda path: path.write_bytes(b""), "cannot be resumed from"),
        ((), drop_optimizer, r"holds \d+ tensors of \d+"),
    ],
)
def test_mismatched_training_states_are_refused(
    few: Path, tmp_path: Path, changes: tuple[str, ...], spoil: Callable[[Path], object] | None, message: str
) -> None:
    train(make_job(few, tmp_path / "run", "training.epochs=1"))
    if spoil is not None:
        spoil(tmp_path / "run" / STATE_FILE)
    with pytest.raises(SetupError, match=message):
        train(make_job(few, tmp_path / "run", "training.epochs=2", *changes))


def test_resuming_with_other_clips_is_refused(few: Path, tmp_path: Path) -> None:
    job = make_job(few, tmp_path / "run", "training.epochs=1")
    train(job)
    fewer = replace(job.clips, filenames=job.clips.filenames[::-1])
    with pytest.raises(SetupError, match="not those this run was started with"):
        train(with_epochs(replace(job, clips=fewer), 2))
    with pytest.raises(SetupError, match="not those this run was started with"):
        train(with_epochs(replace(job, validation=None), 2))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred clips of eight classes, with the names and segment labels of LLP where it is available."""
    root = tmp_path_factory.mktemp("many")
    llp = LLP if LLP.is_dir() else None
    generate(root, Data({"train": 400, "val": 80, "test": 120}, labels=LABELS, llp=llp))
    return root


FAST = (
    "training.epochs=7", "training.batch_size=16", "training.learning_rate=2e-3", "training.clip_norm=1.0",
    "model.hidden_dim=64", "model.feedforward_dim=64", "model.dropout=0.0", "model.attention_dropout=0.0",
    "objective.union=soft",
)  # fmt: skip


@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_training_beats_a_frequency_baseline(many: Path, tmp_path: Path, encoder: str, decoder: str) -> None:
    """Scores are well above those of predicting the frequent classes in every second; LEAP also localises events."""
    job = make_job(many, tmp_path / "run", *FAST, f"model.encoder={encoder}", f"model.decoder={decoder}")
    train(job)
    test = clips_of(many, "test")
    audio, visual = test.segment_labels
    frequent = np.broadcast_to(job.clips.video_labels.mean(0) >= 0.3, audio.shape)
    baseline = score(frequent, frequent, audio, visual)
    parser = load_checkpoint(tmp_path / "run" / BEST_FILE).parser
    assert isinstance(parser, AVParser)
    scores = score_clips(parser, test, CPU)
    assert scores.segment.type_av > baseline.segment.type_av + 20
    assert scores.event.type_av > baseline.event.type_av + 15
    if decoder == "leap":
        predictions = predict_clips(parser, test, CPU)
        everywhere = np.stack([predictions.audio_video >= 0.5, predictions.visual_video >= 0.5])
        truth = np.stack([audio, visual])
        partial = np.any(truth.any(2) & ~truth.all(2), axis=(0, 2))  # clips in which some event begins or ends
        found = np.stack(Thresholds.uniform(job.config.labels, 0.5, 0.5).decide(predictions))
        localised, repeated = (score(*said[:, partial], *truth[:, partial]).segment for said in (found, everywhere))
        assert localised.type_av > repeated.type_av + 8
