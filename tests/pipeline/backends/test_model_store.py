"""Converted models are complete or absent, checked before use, and bounded."""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.registry import build_extractor, meta_extractor
from avvp.pipeline.backends.base import ExtractorSource
from avvp.pipeline.backends.model_store import ModelStore, model_key
from avvp.pipeline.backends.openvino_backend import OpenVINOBackend
from avvp.pipeline.backends.openvino_import import import_openvino, openvino_core
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.durable import PART_PREFIX

KEY, OTHER = "a" * 64, "b" * 64
FILES = ("model.xml", "model.bin")


def make_model(factor: float = 2.0, width: int = 3) -> Any:
    """A model that multiplies (N, width) values by a factor of each column."""
    openvino = import_openvino()
    opset13 = openvino.opset13
    inputs = opset13.parameter([-1, width], np.float32)
    return openvino.Model([opset13.multiply(inputs, np.full(width, factor, np.float32))], [inputs], "factor")


def apply(model: Any) -> list[float]:
    return openvino_core().compile_model(model, "CPU")(np.ones((1, 3), np.float32))[0][0].tolist()


def refuse() -> Any:
    pytest.fail("the model was made again")


def provide_in_process(folder: Path, start: Any, done: Any) -> None:
    start.wait(60)
    done.put(apply(ModelStore(folder).provide(KEY, make_model)))


def test_a_model_is_made_once(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    assert store.read(KEY) is None
    assert apply(store.provide(KEY, make_model)) == [2, 2, 2]
    assert apply(ModelStore(tmp_path / "models").provide(KEY, refuse)) == [2, 2, 2]
    assert apply(store.provide(OTHER, partial(make_model, 3.0))) == [3, 3, 3]
    assert sorted(path.name for path in store.folder.iterdir()) == [KEY, OTHER]


@pytest.mark.parametrize("name", [*FILES, "hashes.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "empty"])
def test_a_damaged_model_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    store = ModelStore(tmp_path)
    store.provide(KEY, make_model)
    file = tmp_path / KEY / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        changed = {"flipped": bytes([content[0] ^ 1]) + content[1:], "cut": content[:-1], "empty": b""}[damage]
        file.write_bytes(changed)
    made = []
    assert apply(store.provide(KEY, lambda: (made.append(1), make_model())[1])) == [2, 2, 2]
    assert made == [1]
    assert apply(store.provide(KEY, refuse)) == [2, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_a_model_that_openvino_cannot_read_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of another version may be, although its files are sound."""
    store = ModelStore(tmp_path)
    store.provide(KEY, make_model)
    (tmp_path / KEY / "model.xml").write_text("<net/>")
    monkeypatch.setattr("avvp.pipeline.backends.model_store._hash_files", lambda _: {})
    (tmp_path / KEY / "hashes.json").write_text("{}")
    assert store.read(KEY) is None
    assert not (tmp_path / KEY).exists()


def test_the_least_recently_used_models_are_removed(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    now = time.time()
    for index, key in enumerate((KEY, OTHER, "c" * 64)):
        store.write(key, make_model())
        os.utime(tmp_path / key, (now - 1000 + index, now - 1000 + index))
    assert store.read(KEY) is not None  # the oldest, used just now
    size = sum(file.stat().st_size for file in (tmp_path / KEY).iterdir())
    limited = ModelStore(tmp_path, limit=round(2.5 * size))
    limited.write("d" * 64, make_model())
    assert {path.name for path in tmp_path.iterdir()} == {KEY, "d" * 64}


def test_a_model_beyond_the_limit_is_kept_alone(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, limit=1)
    store.provide(KEY, make_model)
    store.provide(OTHER, make_model)
    assert [path.name for path in tmp_path.iterdir()] == [OTHER]


def test_what_killed_processes_have_left_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / f"{PART_PREFIX}old", tmp_path / f"{PART_PREFIX}new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "model.xml").write_text("<net")
    os.utime(old, (1, 1))
    ModelStore(tmp_path).write(KEY, make_model())
    assert {path.name for path in tmp_path.iterdir()} == {new.name, KEY}


def test_a_model_of_a_folder_that_is_only_read_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ModelStore(tmp_path).provide(KEY, make_model)

    def refuse_to_change(*_: object, **__: object) -> None:
        raise PermissionError(1, "not permitted")

    for name in ("os.utime", "tempfile.mkdtemp"):
        monkeypatch.setattr(name, refuse_to_change)
    assert apply(ModelStore(tmp_path).provide(KEY, refuse)) == [2, 2, 2]


@pytest.mark.parametrize("problem", ["file", "unwritable"])
def test_a_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    folder = tmp_path / "models"
    if problem == "file":
        folder.write_text("not a folder")
    else:
        monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (_ for _ in ()).throw(PermissionError(13, "denied")))
    told: list[str] = []
    assert apply(ModelStore(folder).provide(KEY, make_model, told.append)) == [2, 2, 2]
    assert len(told) == 1
    assert told[0].startswith(f"{folder}: cannot be written (")
    assert told[0].endswith("); networks are converted at each start")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(import_openvino(), "save_model", fail)
    told: list[str] = []
    assert apply(ModelStore(tmp_path).provide(KEY, make_model, told.append)) == [2, 2, 2]
    assert list(tmp_path.iterdir()) == []
    assert told == [
        f"{tmp_path}: cannot be written (OpenVINO cannot write the model); networks are converted at each start"
    ]


def test_processes_store_the_same_model_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, done = context.Event(), context.Queue()
    processes = [context.Process(target=provide_in_process, args=(tmp_path, start, done)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    assert [done.get(timeout=120) for _ in processes] == [[2, 2, 2]] * 2
    for process in processes:
        process.join()
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_a_key_depends_on_weights_code_versions_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    network = meta_extractor("vgg19_tiny")
    key = model_key(network, "one")
    assert key == model_key(build_extractor("vgg19_tiny"), "one")
    assert len({key, model_key(network, "two"), model_key(network, "one", calibration="x")}) == 3
    assert model_key(meta_extractor("vgg19_small"), "one") != key
    monkeypatch.setattr("avvp.pipeline.backends.model_store.version", lambda name: f"a later {name}")
    assert model_key(network, "one") != key
    monkeypatch.undo()
    network.scale = 1 / 32  # type: ignore[assignment] - not a module, and not in the network's repr
    assert model_key(network, "one") != key


def test_a_stored_model_needs_no_weights(tmp_path: Path) -> None:
    backend, precision = OpenVINOBackend(tmp_path), ComputePrecision(backend="openvino")
    plain = build_extractor("resnet_tiny")

    def arrange(load: Any) -> Extractor:
        source = ExtractorSource(load, partial(meta_extractor, "resnet_tiny"), "one")
        return backend.arrange(source, precision, torch.device("cpu"))

    inputs = torch.full((2, 224, 224, 3), 100, dtype=torch.uint8)
    rows = [extractor(extractor.prepare(inputs)) for extractor in (arrange(lambda: plain), arrange(refuse))]
    assert torch.equal(*rows)
