"""avvp reproduce table4: the systems that have a recipe are trained, of the others the paper's figures are printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.reproduction.systems import SYSTEMS
from support.command import Result
from support.run_folders import SMALL, write_data

Run = Callable[..., Result]
WIDTHS = [part for part in SMALL if part not in {"--batch-size", "8"}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avvp.pipeline.reproduction.time_estimate._MEASURED_SECONDS", 0.05)


def options(data: Path, root: Path, *, pseudo_labels: bool = True) -> list[object]:
    pseudo = ["--pseudo-labels", data / "pseudo_labels"] if pseudo_labels else []
    return [
        "reproduce", "table4", "--annotations", data / "annotations", "--features", data / "features", *pseudo,
        "--label-embeddings", data / "vectors.npy", *WIDTHS, "--set", "training.batch_size=8", "-o", root,
        "--epochs", 1,
    ]  # fmt: skip


def test_dry_run_names_what_is_trained_and_what_is_not(run: Run, data: Path, tmp_path: Path) -> None:
    result = run(*options(data, tmp_path / "runs"), "--system", "HAN", "--system", "JoMoLD", "--dry-run")
    assert result.status == 0, result.err
    assert "TFLOP to go" in result.out
    assert (result.out.count("0/1"), result.out.count("0/2")) == (1, 1)  # JoMoLD's estimator is trained before it
    left_out = result.out.partition("Printed with the paper's figures only: ")[2]
    assert "BPS" in left_out
    assert not (tmp_path / "runs").exists()


def test_scores_stand_beside_the_paper_s(run: Run, data: Path, tmp_path: Path) -> None:
    command = [*options(data, tmp_path / "runs", pseudo_labels=False), "--system", "HAN", "--system", "JoMoLD", "-q"]
    result = run(*command)
    assert result.status == 0, result.err
    rows = {}
    for line in result.out.splitlines():
        name, separator, cells = line.strip().partition(":")
        if separator and cells.split():
            rows[name, cells.split()[0]] = cells
    assert {("HAN", "ours"), ("JoMoLD", "ours")} <= set(rows)
    assert ("MM-Pyr", "ours") not in rows
    for name in ("HAN", "CVCMS", "MA", "BPS", "MM-Pyr + LEAP"):
        printed = rows[name, "paper"]
        assert all(f"{score:.1f}" in printed for score in SYSTEMS[name].figures), name
    assert "GPL-3.0 (README)" in rows["HAN", "paper"]
    assert rows["CVCMS", "paper"].split()[-5:] == ["test", "CC", "BY-NC", "4.0", "(README)"]
    assert "(figures only)" in rows["BPS", "paper"]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("state.safetensors")}
    assert len(stamps) == 3
    again = run(*command, "-f", "json")
    assert json.loads(again.out)["HAN"]["paper"] == list(SYSTEMS["HAN"].figures)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("state.safetensors")} == stamps


def test_each_system_chooses_in_its_own_way(run: Run, data: Path, tmp_path: Path) -> None:
    """CMPAE chooses thresholds of visual videos on validation; MA takes its last epoch."""
    systems = ("--system", "CMPAE", "--system", "MA")
    result = run(*options(data, tmp_path / "runs", pseudo_labels=False), *systems, "-q")
    assert result.status == 0, result.err
    ours = {line.split(":")[0].strip(): line.split() for line in result.out.splitlines() if ": ours  " in line}
    assert {name: cells[-2] for name, cells in ours.items()} == {"MA": "none", "CMPAE": "val"}  # MA: the last epoch
    assert "CMPAE: ours with thresholds tuned on validation (visual-videos)." in " ".join(result.out.split())


def test_selection_on_test_is_labelled(run: Run, data: Path, tmp_path: Path) -> None:
    result = run(*options(data, tmp_path / "runs"), "--system", "MM-Pyr", "--select", "test", "-q")
    assert result.status == 0, result.err
    assert "BEST EPOCH CHOSEN ON THE TEST SPLIT itself" in " ".join(result.out.split())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--recipe", "han"), "the runs of table4 have recipes of their own; leave out --recipe"),
        (("--supervision", "weak"), "--supervision is for table5"),
        (("--system", "BPS"), "'BPS' is not a system that is trained here; known: HAN"),
        (("--set", "model.decoder=leap"), "table4 compares model.decoder"),
    ],
)
def test_options_that_do_not_go_together(run: Run, data: Path, more: tuple[str, ...], message: str) -> None:
    result = run(*options(data, Path("x")), *more)
    assert result.status == 2
    assert message in " ".join(result.err.split())


def test_systems_that_need_pseudo_labels(run: Run, data: Path) -> None:
    result = run(*options(data, Path("x"), pseudo_labels=False))
    assert result.status == 2
    text = " ".join(result.err.split())
    assert "VALOR, HAN + LEAP" in text
    assert "name them with --pseudo-labels; or train the others: --system 'HAN'" in text


def test_systems_are_for_table4(run: Run, data: Path) -> None:
    command = [part if part != "table4" else "table2" for part in options(data, Path("x"))]
    result = run(*command, "--system", "HAN")
    assert result.status == 2
    assert "--system is for table4" in result.err
