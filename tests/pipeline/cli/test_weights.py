"""`avvp weights`, and the help of every command: quick, with examples."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from avvp.extractors import build_extractor
from avvp.extractors.registry import extractor_shapes
from avvp.pipeline.cli.commands import weights as cli_weights
from avvp.pipeline.cli.main import avvp
from avvp.pipeline.inference.vggish_check import TOLERANCES, check_vggish
from avvp.weights import list_bundles, list_files
from avvp.weights.untrained import untrained_state
from support.command import Result, subcommands
from support.parsers import published_state
from support.server import CONTENT, DIGEST, Server, weight_file

Run = Callable[..., Result]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and a manifest whose only file is on it."""
    running = Server()
    monkeypatch.setattr(cli_weights, "list_files", lambda: {"test": weight_file(running)})
    monkeypatch.setattr(cli_weights, "list_bundles", dict)
    yield running
    running.close()


def test_list_names_everything(run: Run) -> None:
    result = run("weights", "list")
    assert result.status == 0
    for file in list_files().values():
        assert file.name in result.out
        assert file.licence in result.out
    assert "leap-llp" in result.out
    assert "RANDOM parameters" in result.out
    assert result.out.count("not on this machine") == sum(bool(file.urls) for file in list_files().values())
    assert "leap-llp (871 MB)\n" in result.out
    assert "resnet152-394f9c45.pth  242 MB" in result.out
    assert "llp_glove.safetensors  32 kB" in result.out
    assert "psp (376 MB)\n" in result.out
    assert "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5  80 MB" in result.out
    assert "https://drive.google.com/drive/folders/1YEyEH6e988v1NUwwVYohrwY2DSpVtVoT" in result.out
    assert "shipped with the program" in result.out


def test_fetch_verify_path(run: Run, server: Server, tmp_path: Path) -> None:
    assert run("weights", "path", "test", "--weights-dir", tmp_path).status == 1
    fetched = run("weights", "fetch", "test", "--weights-dir", tmp_path)
    assert fetched.status == 0
    assert f", 1.0 MB, sha256 {DIGEST}" in fetched.out
    assert (tmp_path / "weights.bin").read_bytes() == CONTENT
    assert "already at" in run("weights", "fetch", "weights.bin", "--weights-dir", tmp_path).out
    assert len(server.requests) == 1
    assert run("weights", "path", "test", "--weights-dir", tmp_path).out == f"{tmp_path / 'weights.bin'}\n"
    verified = run("weights", "verify", "--weights-dir", tmp_path)
    assert (verified.status, "matches the published hash" in verified.out) == (0, True)


def test_a_dry_run_of_fetch_downloads_nothing(run: Run, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    result = run("weights", "fetch", "test", "--dry-run", "--weights-dir", folder)
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"weights.bin: 1.0 MB from {server.url}", "  licence: ",
        f"would download 1.0 MB into {folder} (nothing is downloaded now)",
    ]  # fmt: skip
    assert (server.requests, folder.exists()) == ([], False)
    folder.mkdir()
    (folder / "weights.bin").write_bytes(CONTENT)
    result = run("weights", "fetch", "test", "--dry-run", "--weights-dir", folder)
    assert result.out.splitlines() == [
        f"weights.bin: already at {folder / 'weights.bin'}", "would download 0 bytes (nothing is downloaded now)",
    ]  # fmt: skip


def test_fetch_that_fails(run: Run, server: Server, tmp_path: Path) -> None:
    server.status = 404
    result = run("weights", "fetch", "test", "--weights-dir", tmp_path)
    assert (result.status, "could not be downloaded" in result.err) == (1, True)


@pytest.mark.usefixtures("server")
def test_verify_finds_a_wrong_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(CONTENT[:-1] + b"!")
    result = run("weights", "verify", "--weights-dir", tmp_path)
    assert (result.status, "wrong hash" in result.err) == (1, True)


def test_verify_without_downloads(run: Run) -> None:
    result = run("weights", "verify")
    assert (result.status, "no downloaded weight files on this machine" in result.err) == (0, True)
    assert result.out.startswith("llp_glove.safetensors: ok, matches the published hash")
    assert run("weights", "verify", "vggish").status == 1


def test_path_lists_the_folders(run: Run, tmp_path: Path) -> None:
    folders = run("weights", "path", "--weights-dir", tmp_path).out.splitlines()
    assert folders[0] == str(tmp_path)
    assert len(folders) == 3


def test_unknown_name(run: Run) -> None:
    result = run("weights", "fetch", "nonsense")
    assert result.status == 2
    assert "unknown name 'nonsense'; known: leap-llp" in result.err


@pytest.mark.full_size
def test_verify_runs_the_vggish_check(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random parameters of the right shapes have the right size and are found out all the same."""
    path = tmp_path / "vggish-10086976.pth"
    torch.save(untrained_state(extractor_shapes("vggish"), 1), path)
    file = list_files()["vggish"]
    assert path.stat().st_size == pytest.approx(file.bytes, rel=1e-3)
    monkeypatch.setattr(cli_weights, "verify_file", lambda *_: "0" * 64)
    result = run("weights", "verify", "vggish", "--weights-dir", tmp_path)
    assert result.status == 1
    assert "does not give the published answers" in result.err


@pytest.mark.parametrize(("spoil", "status", "message"), [
    (lambda state: state, 0, "holds every tensor of the published MM-Pyr + LEAP"),
    (lambda state: {key: value for key, value in state.items() if key != "fc_la.bias"}, 1, "fc_la.bias"),
])  # fmt: skip
def test_verify_checks_the_tensors_of_the_published_parser(
    run: Run, tmp_path: Path, spoil: Callable[[dict], dict], status: int, message: str
) -> None:
    torch.save(spoil(published_state()), tmp_path / "leap_llp.pt")
    result = run("weights", "verify", "leap_llp", "--weights-dir", tmp_path)
    assert result.status == status
    assert message in result.out + result.err


def test_check_vggish_compares_with_published_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = build_extractor("vggish_tiny")
    shapes: list[tuple[int, ...]] = []

    def answer(x: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        return torch.zeros(1, 128)

    monkeypatch.setattr(extractor, "forward", answer)
    differences = check_vggish(extractor)
    assert shapes == [(1, 96, 64)] * 2
    assert differences == {"sine_1khz": pytest.approx(1.19568), "silence": pytest.approx(0.683148)}
    assert set(differences) == set(TOLERANCES)
    assert np.isfinite(list(differences.values())).all()


def commands(group: click.Group = avvp, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in subcommands(group).items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_help_is_quick(command: tuple[str, ...]) -> None:
    """Under 0.3 s of a core, so torch must not be imported; the best of five, for other programs slow a core down."""
    program = Path(sys.executable).with_name("avvp")
    times = []
    for _ in range(5):
        started = child_seconds()
        result = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True)
        times.append(child_seconds() - started)
        assert result.stdout.startswith("Usage: avvp")
        if times[-1] < 0.3:
            break
    assert min(times) < 0.3


def child_seconds() -> float:
    """Time that child processes have computed: it does not count how long they waited for a core."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("command", [(), ("parse",), ("weights",)])
def test_help_has_examples(run: Run, command: tuple[str, ...]) -> None:
    lines = run(*command, "--help").out.splitlines()
    examples = lines[lines.index("  Examples:") + 1 :]
    assert examples[0].startswith("    avvp")
    assert examples[1].startswith("    avvp"), "each example has a line of its own"


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("avvp, version 0.")


@pytest.mark.parametrize("arguments", [("nonsense",), ("parse", "--nonsense", "x"), ("weights", "nonsense")])
def test_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.status == 2
    assert "Error: No such" in result.err


def test_a_bundle_that_is_shipped_has_nothing_to_fetch(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("fetch", "verify"):
        result = run("weights", command, "demo")
        assert (result.status, result.out.startswith("demo: shipped with the program, in ")) == (0, True)
    lost = replace(list_bundles()["demo"], root=tmp_path)
    monkeypatch.setattr(cli_weights, "list_bundles", lambda: {"demo": lost})
    result = run("weights", "verify", "demo")
    assert (result.status, "is not there: reinstall it" in result.err) == (2, True)


@pytest.mark.parametrize("command", [("parse", "clip.mp4"), ("parse", ".", "--output-dir", "out"), ("serve", ".")])
def test_a_bundle_without_parser_is_refused_before_its_files(
    run: Run, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    result = run(*command, "--weights", "clip-clap", "--offline")
    assert result.status == 2
    assert "bundle 'clip-clap': it has extractors alone, no parser" in result.err
    assert "missing" not in result.err
