"""Every benchmark runs in its smoke mode and prints finite figures."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from support.paths import ROOT

FOLDER = ROOT / "benchmarks"
BENCHMARKS = sorted(path.stem for path in FOLDER.glob("*.py"))
FIGURE = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")
NOT_FINITE = re.compile(r"\b(?:nan|inf)\b", re.IGNORECASE)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

Main = Callable[[list[str]], object]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks are slower in several threads, much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def load_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Main]:
    """Import a benchmark as Python does when it is run, with its folder on the path; return its `main`."""
    monkeypatch.syspath_prepend(FOLDER)

    def load(name: str) -> Main:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module.main

    return load


def run(main: Main, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a benchmark in its smoke mode; return what it prints."""
    try:
        status = main(["--smoke", *arguments])
    except SystemExit as error:
        status = error.code
    assert not status
    return capsys.readouterr().out


def check_figures(printed: str) -> None:
    assert FIGURE.search(printed), printed
    assert not NOT_FINITE.search(printed), printed


@pytest.mark.parametrize("name", BENCHMARKS)
def test_smoke_mode_prints_finite_figures(
    name: str, load_main: Callable[[str], Main], capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "doc_images" and not any(map(shutil.which, CHROMIUM)):
        pytest.skip("no Chromium here; Debian's package is chromium")
    check_figures(run(load_main(name), capsys))


@pytest.mark.parametrize("mode", ["--batch", "--pseudo-labels"])
def test_memory_of_batch_runs(mode: str, load_main: Callable[[str], Main], capsys: pytest.CaptureFixture[str]) -> None:
    check_figures(run(load_main("memory"), capsys, mode))


def test_documented_commands_have_options_that_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "weights").rglob("*.md")]
    text = " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in pages)
    commands = re.findall(r"python benchmarks/(\w+)\.py([^`]*)`", text)
    assert commands
    for name, arguments in commands:
        source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", arguments):
            assert f'"{option}"' in source, (name, option)


@pytest.mark.parametrize("printed", ["no figures", "x1.20, nan", "1.5 s, inf"])
def test_missing_and_infinite_figures_are_found(printed: str) -> None:
    with pytest.raises(AssertionError):
        check_figures(printed)
