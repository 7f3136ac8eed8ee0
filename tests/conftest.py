"""Fixtures: an isolated cache, small real media, a tiny bundle, the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from avvp.pipeline.cli import main as cli
from support.bundles import write_tiny_bundle
from support.command import RUN_MARK, Result
from support.media import Clips

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Files that take longest, most of them with few tests. They run first: the last file that a process gets is short.
LONG_FILES = (
    "export/test_export.py", "cli/test_convert_tables.py", "formats/test_hostile_events.py", "test_extending.py",
    "batch/test_extract_task.py", "test_own_data.py", "test_docs.py", "test_package.py", "batch/test_ray_engine.py",
    "training/test_train_parser.py", "cli/test_train.py", "test_demo.py", "cli/test_parse.py", "models/test_losses.py",
    "models/test_contract_of_parsers.py", "test_zoo_page.py", "stages/test_run_stages.py", "cli/test_train_stages.py",
    "cli/test_clip_clap.py", "benchmarks/test_denoising.py",
    "files/test_published.py", "html/test_page.py", "training/test_train_extractors.py", "test_golden.py",
    "test_any_class_page.py", "cli/test_any_classes.py", "cli/test_search.py", "batch/test_kept_embeddings.py",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Use one thread per process where tests run in several: waiting OpenMP threads would take the others' cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # of programs started by tests
        torch.set_num_threads(1)
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # files in the order below, not by their number of tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONG_FILES` first."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((index for index, name in enumerate(LONG_FILES) if path.endswith(f"/{name}")), len(LONG_FILES))

    items.sort(key=place)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `gpu` where there is no GPU; with AVVP_NEEDS_GPU=1 they fail instead."""
    if item.get_closest_marker("gpu") is None or torch.cuda.is_available():
        return
    if os.environ.get("AVVP_NEEDS_GPU") == "1":
        pytest.fail("AVVP_NEEDS_GPU=1, and PyTorch finds no GPU", pytrace=False)
    pytest.skip("PyTorch finds no GPU; AVVP_NEEDS_GPU=1 makes this a failure")


@pytest.fixture(autouse=True)
def _no_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's own cache and home out of the tests."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("HOME", str(cache))
    for name in ("AVVP_WEIGHTS_DIR", "AVVP_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Small media files, each made when it is first asked for."""
    return Clips(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle under the `clean` profile."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", "clean")


@pytest.fixture(scope="session")
def tiny_llp_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle under the `llp` profile."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny-llp", "llp")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for all tests: playwright starts once in a process."""
    from playwright.sync_api import sync_playwright
    from support.pages import launch

    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process: ``run("parse", clip, "-q")`` is ``avvp parse clip -q``."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["avvp", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        captured = capfd.readouterr()
        return Result(int(leaving.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def script() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start an installed program in a process of its own: ``script("avvp-parse", clip)``."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: object) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "100", RUN_MARK: str(os.getpid())}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
