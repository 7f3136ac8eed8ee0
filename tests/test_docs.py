"""Every command and program in the documentation does what it says; every link leads somewhere."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from avvp.pipeline import cli_weights
from avvp.weights import list_bundles
from conftest import Result
from media import Clips

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CHANGELOG.md"]


def blocks(language: str) -> Iterator[str]:
    for page in PAGES:
        yield from re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


COMMANDS = list(dict.fromkeys(line for block in blocks("bash") for line in block.splitlines() if line))


@pytest.fixture
def desk(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation speaks of."""
    (tmp_path / "video.mp4").write_bytes(clips.blink.read_bytes())
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").write_bytes(clips.blink.read_bytes())
    thresholds = next(block for block in blocks("toml") if "[audio.segment]" in block)
    (tmp_path / "thresholds.toml").write_text(thresholds.replace("Dog", "Violin_fiddle"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(
    line: str, run: Callable[..., Result], desk: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tiny bundle in place of the published one, and downloads that only say what they would fetch."""
    asked: list[str] = []
    monkeypatch.setattr(
        cli_weights, "fetch_file", lambda file, folder, **_: (asked.append(file.key), (Path(f"{folder}"), "0" * 64))[1]
    )
    program, *arguments = shlex.split(line)
    if program == "avvp-parse":
        arguments = ["parse", *arguments, "--weights", str(tiny_bundle)]
    result = run(*arguments)
    assert result.status == 0, result.err
    if "fetch" in arguments:
        assert asked
    if "-o" in arguments:
        assert (desk / "events.json").is_file()
    if "--output-dir" in arguments:
        assert [path.name for path in (desk / "events").iterdir()] == ["one.events.json"]


@pytest.mark.full_size
@pytest.mark.parametrize("program", list(blocks("python")), ids=lambda text: text.split("\n", 1)[0][:40])
def test_programs(program: str, desk: Path) -> None:
    assert desk.is_dir()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "documentation", "exec"), {})  # noqa: S102
    assert printed.getvalue()


def test_readme_begins_with_the_two_commands_that_the_makefile_has() -> None:
    head = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:5]
    for target in ("demo", "test"):
        assert any(f"make {target}" in line for line in head)
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_ci_runs_make_test() -> None:
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        linked = page.parent / name
        assert linked.exists(), target
        if anchor:
            assert f"\n## {anchor.capitalize()}\n" in linked.read_text(encoding="utf-8")


def test_the_weights_page_names_every_bundle() -> None:
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    for name in list_bundles():
        assert f"`{name}`" in text


def test_benchmarks_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"benchmarks/\w+\.py", page.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file()
