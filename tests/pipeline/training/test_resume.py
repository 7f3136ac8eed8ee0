"""`avvp train --resume`: again and again, on the same data only, and one process at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.pipeline.datasets.clip_names import clip_id
from avvp.pipeline.errors import SetupError
from avvp.pipeline.files import exclusive_lock
from avvp.pipeline.training import step as training_steps
from avvp.pipeline.training.run_folder import BEST_FILE, CONFIG_FILE, LAST_FILE, STATE_FILE
from avvp.pipeline.training.state_file import read_state_content, read_state_file, write_state_file
from avvp.pipeline.training.training_state import load_training_state
from safetensors.torch import load_file
from support.command import Run
from support.run_folders import Killed, snapshot, train_options


@pytest.fixture
def own_data(data: Path, tmp_path: Path, copy: Path) -> Path:
    """A copy of the data, named in the configuration of the copied run; a test may change it."""
    target = Path(shutil.copytree(data, tmp_path / "data"))
    config = (copy / CONFIG_FILE).read_text()
    (copy / CONFIG_FILE).write_text(config.replace(str(data), str(target)))
    return target


def kill_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let training end without a word after some batches."""
    original, left = training_steps.training_step, [steps]

    def step(*arguments: object, **options: object) -> dict[str, float]:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return original(*arguments, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(training_steps, "training_step", step)


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(run: Run, data: Path, tmp_path: Path) -> None:
    """Killed in its first epoch, at the end of one, in the middle of one, extended, killed and extended."""
    assert run(*train_options(data), "-o", tmp_path / "whole", "--epochs", 5, "-q").status == 0
    root = tmp_path / "parts"
    commands: list[tuple[int | None, list[object]]] = [
        (1, [*train_options(data), "-o", root, "--epochs", 3]),
        (3, ["train", "-o", root, "--resume"]),
        (4, ["train", "-o", root, "--resume"]),
        (None, ["train", "-o", root, "--resume"]),
        (1, ["train", "-o", root, "--resume", "--epochs", 4]),
        (None, ["train", "-o", root, "--resume"]),
        (None, ["train", "-o", root, "--resume", "--epochs", 5]),
    ]
    for steps, arguments in commands:
        with pytest.MonkeyPatch.context() as patch:
            if steps is None:
                result = run(*arguments, "-q")
                assert result.status == 0, result.err
            else:
                kill_after(patch, steps)
                with pytest.raises(Killed):
                    run(*arguments, "-q")
        config = json.loads((root / CONFIG_FILE).read_text())
        assert config["format"] == 1
    for name in (STATE_FILE, BEST_FILE, LAST_FILE):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(root / name)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
    assert (tmp_path / "whole" / "bundle.toml").read_text().replace("whole", "parts") == (
        root / "bundle.toml"
    ).read_text()


def test_a_run_that_older_versions_resumed_is_resumed(run: Run, copy: Path) -> None:
    """They wrote config.json without its format."""
    config = json.loads((copy / CONFIG_FILE).read_text())
    del config["format"]
    (copy / CONFIG_FILE).write_text(json.dumps(config))
    assert run("train", "-o", copy, "--resume", "--epochs", 2, "-q").status == 0
    assert json.loads((copy / CONFIG_FILE).read_text())["format"] == 1
    assert run("train", "-o", copy, "--resume", "-q").status == 0


@pytest.mark.parametrize("change", [[], ["--epochs", "5"], ["--tensorboard"]])
def test_a_refused_second_process_changes_nothing(run: Run, copy: Path, change: list[str]) -> None:
    (copy / ".avvp-half.part").write_bytes(b"of the process that works here")
    before = snapshot(copy)
    with exclusive_lock(copy):
        (copy / ".avvp-half.part").write_bytes(b"of the process that works here")
        result = run("train", "-o", copy, "--resume", *change)
    assert result.status == 2
    assert "in use by another process" in result.err
    assert snapshot(copy) == before


def test_two_new_runs_do_not_share_a_folder(run: Run, data: Path, tmp_path: Path) -> None:
    """The other one has locked the folder, and not yet written anything."""
    (tmp_path / "run").mkdir()
    with exclusive_lock(tmp_path / "run"):
        result = run(*train_options(data), "-o", tmp_path / "run")
    assert result.status == 2
    assert "in use by another process" in result.err
    assert snapshot(tmp_path / "run") == {}


def test_a_run_that_was_killed_before_it_had_a_bundle_gets_one(run: Run, copy: Path) -> None:
    (copy / "bundle.toml").unlink()
    assert run("train", "-o", copy, "--resume", "-q").status == 0
    assert (copy / "bundle.toml").exists()


def change_feature(split: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        table = data / "annotations" / {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv"}[split]
        path = data / "features" / "vggish_tiny" / f"{clip_id(table.read_text().splitlines()[3].split()[0])}.npy"
        values, status = np.load(path), path.stat()
        values[-1, -1] = np.nextafter(values[-1, -1], np.float32(np.inf))
        np.save(path, values)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return change


def change_pseudo_labels(data: Path) -> None:
    path = sorted((data / "pseudo_labels" / "CLIP" / "segment_pseudo_labels").iterdir())[3]
    np.save(path, 1 - np.load(path))


def change_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        text = (data / name).read_text()
        assert old in text
        (data / name).write_text(text.replace(old, new, 1))

    return change


def change_vectors(data: Path) -> None:
    np.save(data / "vectors.npy", -np.load(data / "vectors.npy"))


def drop_a_clip(data: Path) -> None:
    path = data / "annotations" / "AVVP_train.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def swap_classes(data: Path) -> None:
    labels = (data / "annotations" / "labels.txt").read_text().split()
    (data / "annotations" / "labels.txt").write_text("\n".join(reversed(labels)) + "\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_feature("train"), "of the train split are not those"),
        (change_feature("val"), "of the val split are not those"),
        (change_pseudo_labels, "the pseudo labels of the training clips are not those"),
        (change_vectors, "the label embeddings are not those"),
        (change_text("annotations/AVVP_train.csv", "Dog", "Car"), "the video labels of the training clips are not"),
        (change_text("annotations/AVVP_eval_audio.csv", "Dog", "Car"), "the labels of the validation clips are not"),
        (drop_a_clip, "the training clips and the"),
        (swap_classes, "the classes and the"),
        (change_text("features/features.json", '"clean"', '"llp"'), "the feature specifications are not those"),
    ],
)
def test_data_that_changed_are_named(
    run: Run, copy: Path, own_data: Path, change: Callable[[Path], None], message: str
) -> None:
    change(own_data)
    before = snapshot(copy)
    result = run("train", "-o", copy, "--resume", "--epochs", 2)
    assert result.status == 2, result.err
    assert message in result.err.replace("\n", " ")
    assert "restore them, or start a new run" in result.err
    assert snapshot(copy) == before


def test_data_that_were_copied_are_the_same(run: Run, copy: Path, own_data: Path) -> None:
    """Times and folders of files do not matter."""
    assert own_data.is_dir()
    assert run("train", "-o", copy, "--resume", "--epochs", 2, "-q").status == 0


def test_a_recipe_that_was_edited_is_refused(run: Run, copy: Path) -> None:
    config = json.loads((copy / CONFIG_FILE).read_text())
    config["recipe"]["training"]["learning_rate"] = 0.5
    (copy / CONFIG_FILE).write_text(json.dumps(config))
    result = run("train", "-o", copy, "--resume", "--epochs", 2)
    assert result.status == 2
    assert "the settings of the recipe are not those this run was started with" in result.err


def test_the_number_of_epochs_of_a_cosine_is_fixed(run: Run, data: Path, tmp_path: Path) -> None:
    changes = ["--set", "training.schedule=cosine"]
    assert run(*train_options(data), *changes, "-o", tmp_path / "run", "--epochs", 1, "-q").status == 0
    before = snapshot(tmp_path / "run")
    result = run("train", "-o", tmp_path / "run", "--resume", "--epochs", 2)
    assert result.status == 2
    assert "a cosine schedule depends on the number of epochs; start a new run" in result.err
    assert snapshot(tmp_path / "run") == before


def test_every_flipped_bit_of_a_state_is_noticed(finished: Path, tmp_path: Path) -> None:
    content = (finished / STATE_FILE).read_bytes()
    expected, tensors = read_state_file(finished / STATE_FILE)
    rng = np.random.default_rng(0)
    header = int.from_bytes(content[:8], "little") + 8
    places = [*rng.integers(0, header, 25), *rng.integers(header, len(content), 25), len(content) - 1]
    noticed, path = 0, tmp_path / STATE_FILE
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found, found_tensors = read_state_file(path)
        except SetupError as error:
            assert "cannot be resumed from" in str(error)
            noticed += 1
        else:  # a space in the header that means nothing
            assert found == expected
            assert all(torch.equal(found_tensors[name], tensors[name]) for name in tensors)
    assert noticed >= len(places) - 3


def test_the_content_of_a_state_is_checked_without_its_tensors(finished: Path, tmp_path: Path) -> None:
    text = (finished / STATE_FILE).read_bytes()
    (tmp_path / STATE_FILE).write_bytes(text.replace(b'\\"best_epoch\\": 1', b'\\"best_epoch\\": 0'))
    with pytest.raises(SetupError, match="does not have the checksum"):
        read_state_content(tmp_path / STATE_FILE)


def test_states_of_all_types_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor(3.0), "b": torch.zeros(0, 2), "c": torch.tensor([True, False]), "d": torch.arange(3)}
    write_state_file(tmp_path / "x.safetensors", tensors, {"x": [1.5, None]})
    content, found = read_state_file(tmp_path / "x.safetensors")
    assert content == {"x": [1.5, None]}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_another_number_of_threads_is_noted(run: Run, copy: Path) -> None:
    threads = torch.get_num_threads()
    environment = json.loads((copy / "environment.json").read_text())
    (copy / "environment.json").write_text(json.dumps({**environment, "threads": 7}))
    try:
        result = run("train", "-o", copy, "--resume", "--epochs", 2, "--threads", 2)
        assert result.status == 0, result.err
        text = result.err.replace("\n", " ")
        assert "note: the run was started with 7 threads and is resumed with 2: the last bits of the result" in text
        assert load_training_state(copy).epochs == 2
        (copy / "environment.json").write_text("{")
        result = run("train", "-o", copy, "--resume", "--epochs", 3, "--threads", 1)
        assert result.status == 0, result.err
        assert "note: environment.json cannot be read" in result.err
    finally:
        torch.set_num_threads(threads)
