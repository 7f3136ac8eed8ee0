"""Every benchmark runs in its smoke mode and prints finite figures."""

from __future__ import annotations

import importlib
import importlib.util
import random
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

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
    if name != "doc_images":
        check_figures(run(load_main(name), capsys))
        return
    if not any(map(shutil.which, CHROMIUM)):
        pytest.skip("no Chromium here; Debian's package is chromium")
    with ThreadPoolExecutor(1) as pool:  # playwright starts once in a thread, and other tests have started it
        check_figures(pool.submit(run, load_main(name), capsys).result())


@pytest.mark.parametrize("mode", ["--batch", "--pseudo-labels"])
def test_memory_of_batch_runs(mode: str, load_main: Callable[[str], Main], capsys: pytest.CaptureFixture[str]) -> None:
    check_figures(run(load_main("memory"), capsys, mode))


def test_agreement_with_a_published_profile(
    load_main: Callable[[str], Main], capsys: pytest.CaptureFixture[str], tiny_llp_bundle: Path
) -> None:
    """Which computes every picture, so it is not compared with similar ones left out."""
    printed = run(load_main("agreement"), capsys, "--weights", str(tiny_llp_bundle))
    check_figures(printed)
    rows = [line.split()[:2] for line in printed.splitlines()[2:]]
    assert rows == [["llp", "0"], *([name, level] for name in ("clean-fast", "fast") for level in ("0", "2"))]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("latency", ("--parts", "start,wam"), "--parts: 'wam' is none of start, warm, serve"),
        ("latency", ("--ways", "torch"), "--ways: 'torch' is not backend:precision"),
        ("quantization", ("--only", "resnet_small"), "--only needs --speed and one of"),
        ("quantization", ("--speed", "--only", "resnet"), "--only needs --speed and one of"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    name: str,
    arguments: Sequence[str],
    message: str,
    load_main: Callable[[str], Main],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as leaving:
        load_main(name)(["--smoke", *arguments])
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err


def test_extraction_of_maps(load_main: Callable[[str], Main], capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(load_main("extraction"), capsys, "--profile", "ave-4", "--precision", "fp32")
    check_figures(printed)
    assert "visual_map" in printed


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


def test_memory_of_decoding(load_main: Callable[[str], Main], capsys: pytest.CaptureFixture[str]) -> None:
    check_figures(run(load_main("decoding"), capsys, "--memory"))


class TestFuzzing:
    """The rules that damaged files are checked by."""

    @pytest.fixture
    def fuzzing(self, load_main: Callable[[str], Main]) -> ModuleType:
        return sys.modules[load_main("fuzzing").__module__]

    def test_lengths_that_ffmpeg_decodes(self, fuzzing: ModuleType) -> None:
        header = ["#software: Lavf", "#tb 0: 1/10", "#media_type 0: video", "#tb 1: 1/16000", "#media_type 1: audio"]
        frames = ["0,  0,  0,  1, 9216, 0x0", "1,  0,  0,  8000, 16000, 0x0", "0, 30, 30,  1, 9216, 0x0"]
        assert fuzzing.parse_lengths(header + frames) == {"video": 0.2, "audio": 0.5}

    @pytest.mark.parametrize(
        ("seconds", "warnings", "missing"),
        [
            (3.6, (), False),
            (3.4, (), True),
            (3.4, ("3 damaged audio packets",), False),
            (3.4, ("3 damaged frames", "the file has no video stream: no visual events"), True),
        ],
    )
    def test_a_short_stream_needs_a_warning_about_it(
        self, seconds: float, warnings: Sequence[str], missing: bool, fuzzing: ModuleType
    ) -> None:
        facts = SimpleNamespace(video_duration=None, audio_duration=seconds)
        assert bool(fuzzing.find_missing(facts, warnings, {"audio": 4.0})) == missing

    def test_a_seed_makes_the_same_mutant(self, load_main: Callable[[str], Main]) -> None:
        load_main("fuzzing")
        mutate = importlib.import_module("measure.mutations").mutate
        content = bytes(range(256)) * 16
        mutants = [mutate(content, random.Random(seed)) for seed in range(200)]  # noqa: S311
        assert mutants == [mutate(content, random.Random(seed)) for seed in range(200)]  # noqa: S311
        assert all(damaged != content for name, damaged in mutants if name == "flip")
        assert {name for name, _ in mutants if "+" not in name} == {
            "flip", "zero", "cut", "remove", "duplicate", "swap", "integer",
        }  # fmt: skip
