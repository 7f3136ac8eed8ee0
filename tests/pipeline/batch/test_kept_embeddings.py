"""Batch runs with other classes: timelines are made of kept embeddings, and the engine decodes nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.batch import parse_task
from avvp.pipeline.embeddings.files import iterate_embeddings, parse_embeddings
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]
FILMS = {"one": "red", "two": "blue"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, colour in FILMS.items():
        make_film(folder / f"{name}.mp4", [(colour, "low tone", 3), (None, None, 2)])
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded."""
    found: list[Path] = []
    decode = DecodeWorker.decode

    def counting(self: DecodeWorker, path: Path, *args: Any, **options: Any) -> Any:
        found.append(path)
        return decode(self, path, *args, **options)

    monkeypatch.setattr(DecodeWorker, "decode", counting)
    return found


Batch = Callable[..., Result]


@pytest.fixture
def batch(run: Run, bundle: Path, films: Path, tmp_path: Path) -> Batch:
    def batch(classes: str, *options: object, output: object = tmp_path / "out", status: int = 0) -> Result:
        command = (
            "parse",
            films,
            "--weights",
            bundle,
            *TRUST,
            "--classes",
            classes,
            "--output-dir",
            output,
            "--segments",
        )
        result = run(*command, *options)
        assert result.status == status, result.err
        return result

    return batch


def timelines(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.events.json"))}


def last_entries(folder: Path) -> dict[str, Any]:
    lines = [line for path in sorted((folder / "journal").glob("*.jsonl")) for line in path.read_text().splitlines()]
    return {entry["id"]: entry for entry in map(json.loads, lines)}


def test_other_classes_are_found_without_decoding(batch: Batch, decoded: list[Path], tmp_path: Path, run: Run) -> None:
    batch("blue, red")
    assert len(decoded) == 2
    assert [name for name, _ in iterate_embeddings(tmp_path / "out")] == ["one", "two"]
    entries = last_entries(tmp_path / "out")
    assert set(entries["one"]["outputs"]) == {"events", "embeddings"}

    planned = batch("red, low tone", "--dry-run")
    assert "0 to compute, 2 to make again from kept embeddings" in planned.out
    listed = batch("red, low tone", "--dry-run-list")
    assert listed.out.count("remake") == 2
    assert "2 of 2 from kept embeddings, without decoding" in batch("red, low tone").err
    assert len(decoded) == 2
    status = run("status", tmp_path / "out")
    assert "remade       2 of the last run, from kept embeddings" in status.out
    assert "2 done before" in batch("red, low tone").err

    batch("red, low tone", "--no-embeddings", output=tmp_path / "fresh")
    assert len(decoded) == 4
    assert timelines(tmp_path / "out") == timelines(tmp_path / "fresh")
    assert not (tmp_path / "fresh" / "embeddings").exists()


def test_what_is_missing_or_damaged_is_computed(batch: Batch, decoded: list[Path], tmp_path: Path) -> None:
    batch("blue")
    kept = tmp_path / "out" / "embeddings"
    (kept / "one.safetensors").unlink()
    batch("red")
    assert [path.stem for path in decoded[2:]] == ["one"]

    stamp = (kept / "two.safetensors").stat()
    content = bytearray((kept / "two.safetensors").read_bytes())
    content[-1] ^= 1
    (kept / "two.safetensors").write_bytes(bytes(content))  # another state: the plan reads it
    assert stamp.st_size == len(content)
    batch("red, blue")
    assert [path.stem for path in decoded[3:]] == ["two"]
    assert len(list(iterate_embeddings(tmp_path / "out"))) == 2
    decoded.clear()
    batch("low tone")
    assert decoded == []


def test_damage_that_the_plan_cannot_see(
    batch: Batch, decoded: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look at the embeddings of one film finds them damaged; the engine starts for it alone."""
    batch("blue")
    decoded.clear()
    broken: list[str] = []

    def parse(content: bytes, path: str, **options: Any) -> Any:
        if "one" in path and not broken:
            broken.append(path)
            content = content[:-1]
        return parse_embeddings(content, path, **options)

    monkeypatch.setattr(parse_task, "parse_embeddings", parse)
    batch("red")
    assert [path.stem for path in decoded] == ["one"]
    assert last_entries(tmp_path / "out")["one"]["status"] == "done"
    assert set(last_entries(tmp_path / "out")["one"]["parameters"]) == {"events", "embeddings"}
    decoded.clear()
    batch("green")
    assert decoded == []


def test_a_new_film_is_computed_beside_the_kept_ones(
    batch: Batch, decoded: list[Path], films: Path, tmp_path: Path
) -> None:
    batch("blue")
    decoded.clear()
    shutil.copy(films / "one.mp4", films / "three.mp4")
    try:
        result = batch("red")
    finally:
        (films / "three.mp4").unlink()
    assert [path.stem for path in decoded] == ["three"]
    assert "3 done" in result.err
    assert timelines(tmp_path / "out")["three.events.json"]["events"]


def test_a_killed_run_goes_on_with_what_is_kept(
    batch: Batch, decoded: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch("blue")
    decoded.clear()
    remake = parse_task.ParseTask.remake_outputs

    def interrupted(self: Any, run: Any, job: Any) -> Any:
        if job.id == "two":
            raise KeyboardInterrupt
        return remake(self, run, job)

    with monkeypatch.context() as patch:
        patch.setattr(parse_task.ParseTask, "remake_outputs", interrupted)
        batch("red", status=130)
    assert last_entries(tmp_path / "out")["two"]["status"] == "started"
    assert "1 to make again from kept embeddings" in batch("red", "--dry-run").out
    batch("red")
    assert decoded == []


def test_more_formats_and_shards_decode_nothing(batch: Batch, decoded: list[Path], tmp_path: Path) -> None:
    batch("blue", "--shard", "1/2")
    batch("blue", "--shard", "2/2")
    decoded.clear()
    batch("blue", "-f", "json,csv")
    for shard in ("1/2", "2/2"):
        batch("red", "-f", "json,csv", "--shard", shard)
    assert decoded == []
    assert len(list((tmp_path / "out").glob("*.csv"))) == 2


def test_other_storages(batch: Batch, decoded: list[Path], tmp_path: Path) -> None:
    address = f"local://{tmp_path}/far"
    batch("blue", output=address)
    assert len(decoded) == 2
    batch("red, blue", output=address)
    assert len(decoded) == 2
    assert all(item["events"] for item in timelines(tmp_path / "far").values())


def test_a_cluster_is_not_started_for_kept_embeddings(batch: Batch, decoded: list[Path], tmp_path: Path) -> None:
    batch("blue")
    decoded.clear()
    batch("red, blue", "--engine", "ray")
    assert decoded == []
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
    assert all(item["events"] for item in timelines(tmp_path / "out").values())


def test_embeddings_of_a_folder_are_beside_its_results(batch: Batch, tmp_path: Path) -> None:
    result = batch("red", "--embeddings", tmp_path / "mine", status=2)
    assert "--embeddings is for one file" in result.err
