"""Fixtures of the tests of inputs and of hostile files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from avvp.pipeline.cli.main import avvp
from support.command import Result
from support.hostile_kinds import train_workspace, write_workspace

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Path]:
    """A valid file of every kind that commands read, see `support.hostile_kinds`."""
    root = write_workspace(tmp_path_factory.mktemp("hostile"), tiny_bundle)
    assert not avvp.main(train_workspace(root), standalone_mode=False)
    yield root
    shutil.rmtree(root)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(run: Run, here: Path, tiny_bundle: Path) -> Run:  # noqa: ARG001 - where it runs
    """Run avvp extract --dry-run-list."""
    return lambda *arguments: run("extract", *arguments, "-o", "feats", "--weights", tiny_bundle, "--dry-run-list")
