"""Batch runs on a Ray cluster: the same bytes as on one machine, whatever happens to the nodes."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.ray_engine import RayEngine
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.errors import SetupError
from avvp.weights.remote.bundles import load_bundle
from support.command import Result
from support.media import Clips
from support.speeds import remember_rates
from support.teachers import write_teachers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")

Run = Callable[..., Result]
pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.second = made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def videos(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(30):
        shutil.copy(clips.steady if number % 3 else clips.blink, folder / f"clip{number}.mp4")
    shutil.copy(clips.headless, folder / "bad.mp4")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    found = [*folder.rglob("*.npy"), *folder.rglob("*.events.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def done(folder: Path) -> list[str]:
    lines = [line for path in (folder / "journal").glob("*.jsonl") for line in path.read_text().splitlines()]
    return [record["id"] for record in map(json.loads, lines) if record["status"] == "done"]


@pytest.mark.timeout(400)
def test_extract_survives_the_loss_of_a_node(
    script: Callable[..., subprocess.Popen[str]],
    run: Run,
    cluster: Any,
    videos: Path,
    tmp_path: Path,
    tiny_bundle: Path,
) -> None:
    """Written through fsspec; the second run, on the node that is left, finds nothing to do."""
    command = ("extract", videos, "--weights", tiny_bundle)
    out, on_ray = tmp_path / "ray", ("-o", f"file://{tmp_path}/ray", "--engine", "ray", "--address", cluster.address)
    process = script("avvp", *command, *on_ray)
    deadline = time.monotonic() + 200
    while not done(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert process.poll() is None, "over before a node could be lost"
    cluster.remove_node(cluster.second, allow_graceful=False)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "30 done, 0 done before, 1 failed" in err
    assert "bad.mp4" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert sorted(done(out)) == sorted(f"clip{number}" for number in range(30))
    assert run(*command, "-o", tmp_path / "local", "-q").status == 1
    assert contents(out) == contents(tmp_path / "local")
    again = script("avvp", *command, *on_ray)
    assert "0 done, 30 done before, 1 failed" in again.communicate(timeout=120)[1]


def listening(mark: str) -> set[str]:
    """Return the addresses, as /proc/net prints them, that processes with a mark in their environment listen on."""
    addresses = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                addresses[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                found |= {str(file.readlink()) for file in (process / "fd").iterdir()}
    return {addresses[name] for name in found if name in addresses}


def test_timelines_on_a_cluster_of_this_machine(
    script: Callable[..., subprocess.Popen[str]], run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nobody else can reach the cluster, and nothing is left of it. It computes in what this process chooses."""
    monkeypatch.setenv("AVVP_TEST_CLUSTER", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as temporary:
        monkeypatch.setenv("TMPDIR", temporary)
        remember_rates(9, 17)
        command = ("parse", videos / "clip0.mp4", videos / "clip1.mp4", "--weights", tiny_bundle, "--precision", "auto")
        process = script("avvp", *command, "--output-dir", tmp_path / "ray", "--engine", "ray")
        seen: set[str] = set()
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            seen |= listening(f"AVVP_TEST_CLUSTER={tmp_path}")
            time.sleep(0.3)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 0, err
        assert "clip0: audio: " in err
        assert "computing in bf16, 1.9 times as fast as fp32 by torch (measured before)" in err
        (timeline,) = (tmp_path / "ray").glob("clip0.*.json")
        assert json.loads(timeline.read_text())["provenance"]["features"]["precision"] == "bf16"
        assert seen
        assert seen <= {"0100007F", "0" * 16 + "FFFF00000100007F", "0" * 24 + "01000000"}
        assert not list(Path(temporary).iterdir())
    assert run(*command, "--output-dir", tmp_path / "local").status == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_pseudo_labels(
    script: Callable[..., subprocess.Popen[str]], run: Run, cluster: Any, videos: Path, tmp_path: Path
) -> None:
    clip, clap = write_teachers(tmp_path / "teachers")
    command = ("pseudo-label", videos / "clip0.mp4", videos / "clip1.mp4", "--no-weak-labels", "--offline", "-q")
    models = ("--clip-model", clip, "--clap-model", clap)
    process = script("avvp", *command, *models, "-o", tmp_path / "ray", "--engine", "ray", "--address", cluster.address)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert run(*command, *models, "-o", tmp_path / "local").status == 0
    assert len(contents(tmp_path / "ray")) == 8
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.parametrize(
    ("actor", "message"),
    [
        (("--gpus-per-actor", 1), "--gpus-per-actor: no node of the Ray cluster has a GPU"),
        (("-o", "file:///proc/nowhere"), "cannot be written"),
    ],
)
def test_unsatisfiable_resources_end_the_run(
    script: Callable[..., subprocess.Popen[str]],
    cluster: Any,
    videos: Path,
    tmp_path: Path,
    tiny_bundle: Path,
    actor: tuple[object, ...],
    message: str,
) -> None:
    command = ("extract", videos, "--weights", tiny_bundle, "-o", tmp_path, *actor, "--engine", "ray")
    _, err = script("avvp", *command, "--address", cluster.address).communicate(timeout=120)
    assert message in err.strip().splitlines()[-1]
    assert "Traceback" not in err


def test_usage(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    command = ("extract", videos, "--weights", tiny_bundle, "-o", tmp_path)
    assert "--actors goes with --engine ray" in run(*command, "--actors", 2).err
    task = ExtractTask(bundle=load_bundle(str(tiny_bundle)), settings=ComputeSettings(DecodeOptions(), device="cuda:1"))
    with pytest.raises(SetupError, match="Ray chooses the GPUs"):
        RayEngine(task, {}, str(tmp_path))


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        ([{"CPU": 8.0}, {"CPU": 4.0}], {}, (4, 0.0, 3)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], {"cpus": 2}, (2, 0.0, 6)),
        ([{"CPU": 8.0}, {"CPU": 32.0, "GPU": 2.0}], {}, (16, 1.0, 2)),
        ([{"CPU": 32.0, "GPU": 2.0}], {"gpus": 0.5}, (8, 0.5, 4)),
        ([{"CPU": 32.0, "GPU": 2.0}], {"gpus": 0.5, "cpus": 16}, (16, 0.5, 2)),
        ([{"CPU": 8.0}], {"actors": 5}, (8, 0.0, 5)),
    ],
)
def test_what_actors_reserve(
    nodes: list[dict[str, float]], asked: dict[str, Any], expected: tuple[int, float, int], tiny_bundle: Path
) -> None:
    class Nodes:
        @staticmethod
        def nodes() -> list[dict[str, Any]]:
            return [{"Alive": True, "Resources": node} for node in nodes] + [{"Alive": False, "Resources": {"CPU": 64}}]

    task = ExtractTask(bundle=load_bundle(str(tiny_bundle)), settings=ComputeSettings(DecodeOptions()))
    assert RayEngine(task, {}, "/out", **asked)._reserve(Nodes) == expected
