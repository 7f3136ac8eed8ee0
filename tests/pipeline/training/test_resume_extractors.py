"""`avvp train-extractors --resume`: again and again, on the same data only, and one process at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors.inputs import INPUT_FORMATS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clip_names import clip_id
from avvp.pipeline.errors import SetupError, TrainingError
from avvp.pipeline.files import exclusive_lock
from avvp.pipeline.synthetic.dataset import SynthJob
from avvp.pipeline.training import train_extractors
from avvp.pipeline.training.extractor_examples import Examples
from avvp.pipeline.training.extractor_run import ExtractorPlan
from avvp.pipeline.training.extractor_state import check_state
from avvp.pipeline.training.settings.extractor_settings import ExtractorTrainingConfig
from avvp.pipeline.training.train_extractors import train_extractor
from safetensors.torch import load_file
from support.command import Run
from support.run_folders import Killed, snapshot
from support.synth import write_clips

TINY = {"audio": "vggish_tiny", "visual_2d": "resnet_tiny", "visual_3d": "r2plus1d_tiny"}


def make_examples(stream: str, count: int = 2) -> Examples:
    """Random inputs."""
    form = next(form for form in INPUT_FORMATS.values() if form.stream == stream)
    rng = np.random.default_rng(3)
    inputs = (
        rng.standard_normal((count, *form.shape))
        if form.dtype == np.float32
        else rng.integers(0, 255, (count, *form.shape))
    )
    hashes = {"videos": "1", "annotations": "2"}
    return Examples(inputs.astype(form.dtype), rng.random((count, 3)) < 0.4, hashes)


class Kill:
    """Ends training without a word at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, epoch: int, _epochs: int, _loss: float) -> None:
        if epoch == self.epoch:
            raise Killed


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("stream", list(TINY))
def test_training_that_is_killed_again_and_again_gives_the_same_bits(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of an epoch, in the middle of one, and when all are complete."""
    monkeypatch.setattr(train_extractors, "_BATCH_SIZE", 1)  # two batches in an epoch
    name, examples, state = TINY[stream], make_examples(stream), tmp_path / "state.safetensors"
    config = ExtractorTrainingConfig(epochs=4, seed=5, mixed=0.5 if stream == "audio" else 0.0)
    whole = train_extractor(name, examples, config)
    with pytest.raises(Killed):
        train_extractor(name, examples, config, state_file=state, on_epoch=Kill(1))
    with pytest.MonkeyPatch.context() as patch:
        load, calls = train_extractors._load, []

        def kill_in_epoch_3(*arguments: object) -> torch.Tensor:
            calls.append(0)
            if len(calls) == 4:
                raise Killed
            return load(*arguments)  # pyright: ignore[reportArgumentType]

        patch.setattr(train_extractors, "_load", kill_in_epoch_3)
        with pytest.raises(Killed):
            train_extractor(name, examples, config, state_file=state)
    with pytest.raises(Killed):
        train_extractor(name, examples, config, state_file=state, on_epoch=Kill(4))
    epochs: list[int] = []
    parts = train_extractor(name, examples, config, state_file=state, on_epoch=lambda epoch, *_: epochs.append(epoch))
    assert epochs == []  # all were complete
    assert_same(whole, parts)


def test_another_number_of_epochs_starts_from_the_first(tmp_path: Path) -> None:
    """Every learning rate depends on the number of epochs; the result is that of an uninterrupted run."""
    examples, state = make_examples("audio"), tmp_path / "state.safetensors"
    config, longer = ExtractorTrainingConfig(epochs=2), ExtractorTrainingConfig(epochs=3)
    train_extractor("vggish_tiny", examples, config, state_file=state)
    assert not check_state(state, "vggish_tiny", examples, config)
    assert check_state(state, "vggish_tiny", examples, longer)
    whole = train_extractor("vggish_tiny", examples, longer)
    assert_same(whole, train_extractor("vggish_tiny", examples, longer, state_file=state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hashes": {"videos": "x", "annotations": "2"}}, "the videos are not those"),
        ({"hashes": {"videos": "1", "annotations": "x"}}, "the annotations are not those"),
        ({"hashes": {"videos": "x", "annotations": "x"}}, "the videos and the annotations are not those"),
        ({"seed": 1}, "the settings are not those"),
        ({"name": "resnet_tiny"}, "not the state of training resnet_tiny"),
        ({"byte": 40}, "cannot be resumed from"),
        ({"byte": -9}, "cannot be resumed from"),
    ],
)
def test_states_of_other_data_and_damaged_ones_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    examples, state = make_examples("audio", 8), tmp_path / "state.safetensors"
    config = ExtractorTrainingConfig(epochs=1)
    train_extractor("vggish_tiny", examples, config, state_file=state)
    if "byte" in change:
        content = bytearray(state.read_bytes())
        content[change["byte"]] ^= 1
        state.write_bytes(content)
    other = Examples(examples.inputs, examples.labels, change.get("hashes", examples.hashes))
    config = ExtractorTrainingConfig(epochs=1, seed=change.get("seed", 0))
    with pytest.raises(SetupError, match=message):
        train_extractor(change.get("name", "vggish_tiny"), other, config, state_file=state)


def test_memory_that_is_not_enough_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(train_extractors, "_load", fail)
    with pytest.raises(TrainingError, match="vggish_tiny: out of memory in a batch of 64 examples"):
        train_extractor("vggish_tiny", make_examples("audio", 8), ExtractorTrainingConfig(epochs=1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = SynthJob({"train": 2, "val": 2, "test": 2}, seed=9, seconds=2)
    return write_clips(tmp_path_factory.mktemp("synth") / "set", job)


def test_the_command_resumes_and_refuses(run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process at a time, the same data, and in the end the bundle of a run that was never killed."""
    common = ("--annotations", data / "annotations", "--workers", 1, "--device", "cpu")
    assert run("train-extractors", data / "videos", *common, "-o", tmp_path / "whole", "--epochs", 2).status == 0
    root = tmp_path / "parts"
    train_epoch = train_extractors._train_epoch

    def kill_the_second(*arguments: object) -> float:
        if arguments[1] == "resnet_small" and arguments[4] == 1:
            raise Killed
        return train_epoch(*arguments)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr(train_extractors, "_train_epoch", kill_the_second)
        with pytest.raises(Killed):
            run("train-extractors", data / "videos", *common, "-o", root, "--epochs", 2)
    assert not (root / "bundle.toml").exists()
    (root / ".avvp-examples-left").mkdir()
    before = snapshot(root)
    with exclusive_lock(root):
        for arguments in (("-o", root, "--resume"), ("-o", root, "--resume", "--epochs", 7)):
            result = run("train-extractors", *arguments)
            assert (result.status, "in use by another process" in result.err) == (2, True)
    for arguments, message in (
        ((data / "videos", *common, "-o", root), "already holds a run of avvp train-extractors; resume it"),
        (("-o", root, "--resume", "--seed", 1), "leave out --seed"),
        (("-o", tmp_path / "nowhere", "--resume"), "not a run that can be resumed"),
        (("-o", tmp_path / "new"), "missing VIDEOS and --annotations"),
        ((data / "videos", *common, "-o", tmp_path / "new", "--seed", 2**64), "the seed from 0 to"),
        ((data / "videos", *common, "-o", tmp_path / "new", "--epochs", 10**9), "epochs must be from 1 to"),
    ):
        result = run("train-extractors", *arguments)
        assert result.status == 2
        assert message in " ".join(result.err.split())
    assert snapshot(root) == before
    assert not (tmp_path / "new").exists()

    changed = Path(shutil.copytree(data, tmp_path / "data"))
    ids = [clip_id(name) for name in read_annotations(data / "annotations").split("val").filenames]
    first, second = (next((changed / "videos").glob(f"{name}.*")) for name in ids)
    shutil.copy(first, second)
    result = run("train-extractors", changed / "videos", *common, "-o", root, "--resume")
    assert result.status == 2, result.err
    assert "the videos" in result.err
    assert "are not those this run was started with" in " ".join(result.err.split())

    result = run("train-extractors", "-o", root, "--resume")
    assert result.status == 0, result.err
    assert "vggish_small" not in result.err  # both of its epochs were complete
    assert "resnet_small: epoch 2/2" in result.err
    names = [f"{name}.safetensors" for name in ("vggish_small", "resnet_small", "r2plus1d_small")]
    assert {path.name for path in root.iterdir()} == {*names, "bundle.toml", "extractors.json", "environment.json"}
    for name in names:
        assert_same(load_file(tmp_path / "whole" / name), load_file(root / name))
    before = snapshot(root)
    assert "already complete" in run("train-extractors", "-o", root, "--resume").err
    assert snapshot(root) == before


HOSTILE = [
    "[]", "3", "{", "[" * 100_000, '{"format": 2}', '{"format": 1}', '{"format": 1, "complete": 1}', "\x00", "",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_configurations_that_are_none_are_refused(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "extractors.json").write_text(text)
    result = run("train-extractors", "-o", tmp_path, "--resume")
    assert result.status == 2
    assert len(result.err.strip().splitlines()) <= 3
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    "change",
    [
        {"videos": 3}, {"videos": "a\0b"}, {"videos": ""}, {"annotations": None}, {"splits": "val"}, {"splits": [3]},
        {"splits": ["train"]}, {"splits": []}, {"splits": ["val", "val"]}, {"profile": "x"}, {"profile": []},
        {"epochs": 3}, {"epochs": {}}, {"epochs": {"vggish_small": 1, "resnet_small": 1, "r2plus1d_small": True}},
        {"epochs": {"vggish_small": 1, "resnet_small": 1, "r2plus1d_small": 10**9}}, {"seed": -1}, {"seed": 1.5},
        {"seed": True}, {"wings": 2},
    ],
)  # fmt: skip
def test_plans_of_other_types_are_refused(change: dict[str, object]) -> None:
    names = ("vggish_small", "resnet_small", "r2plus1d_small")
    plan = ExtractorPlan(
        videos=Path("/v"),
        annotations=Path("/a"),
        splits=("val",),
        profile="clean",
        epochs=dict.fromkeys(names, 2),
        seed=0,
    )
    document = json.loads(json.dumps(plan.to_dict()))
    assert ExtractorPlan.from_dict(document) == plan
    with pytest.raises(SetupError, match=r"extractors\.json: ") as error:
        ExtractorPlan.from_dict({**document, **change})
    assert len(str(error.value)) < 400
