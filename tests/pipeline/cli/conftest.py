"""Fixtures of the tests of inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import Result

Run = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(run: Run, here: Path, tiny_bundle: Path) -> Run:  # noqa: ARG001 - where it runs
    """Run avvp extract --dry-run."""
    return lambda *arguments: run("extract", *arguments, "-o", "feats", "--weights", tiny_bundle, "--dry-run")
