"""A small data set, and a finished run that tests copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.run_folders import train_options, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    from avvp.pipeline.cli.main import avvp

    root = tmp_path_factory.mktemp("runs") / "run"
    arguments = [*train_options(data), "-o", str(root), "--epochs", "1", "-q"]
    assert avvp.main(arguments, standalone_mode=False) == 0
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
