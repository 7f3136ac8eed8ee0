"""Help and wrong names: nothing is cut, everything is in a group, the nearest name is said, and it is quick."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from avvp.pipeline.cli.main import avvp
from support.command import Run, subcommands

_ROUNDS = 5
_MOST = 8  # times of `python -c pass`: 4.1 were measured, NumPy alone takes another 4


def all_commands(group: click.Group = avvp, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in subcommands(group).items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += all_commands(command, (*path, name))
    return found


@pytest.mark.parametrize("columns", ["60", "80", "120", "250"])
@pytest.mark.parametrize("group", [(), ("weights",)])
def test_no_summary_is_cut(columns: str, group: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = run(*group, "-h").out
    assert "..." not in text.partition("Commands:")[2].partition("Example")[0]
    commands, _, _ = text.partition("Example")
    assert max(map(len, commands.splitlines())) <= min(int(columns), 120)


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_command_has_help_with_short_flag(path: tuple[str, ...], run: Run) -> None:
    result = run(*path, "-h")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"Usage: avvp {' '.join(path)} ")
    assert run(*path, "--help").out == result.out


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_long_helps_are_in_groups(path: tuple[str, ...], run: Run) -> None:
    """At most 16 options under one heading."""
    sections = re.split(r"^(\w[^\n]*):\n", run(*path, "-h").out.partition("\n  Example")[0], flags=re.MULTILINE)[1:]
    for heading, text in zip(sections[::2], sections[1::2], strict=True):
        if heading != "Commands":
            assert len(re.findall(r"^  -", text, re.MULTILINE)) <= 16, heading


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("prase", "x.mp4"), "No such command 'prase'; did you mean parse?"),
        (("weights", "fecth"), "No such command 'fecth'; did you mean fetch?"),
        (("video.mp4",), "No such command 'video.mp4'; to parse a file: avvp parse FILE"),
        (("xyzzy",), "No such command 'xyzzy'\n"),
        (("parse", "x.mp4", "--wieghts", "demo"), "--weights"),
        (("convert", "--fromat", "csv"), "--format"),
        (("parse", "x.mp4", "--decoder", "pyav"), "'auto', 'ffmpeg', 'decord', 'cuda'"),
        (("--hepl",), "--help"),
    ],
)
def test_an_error_names_the_nearest(arguments: tuple[str, ...], hint: str, run: Run) -> None:
    result = run(*arguments)
    assert result.status == 2
    assert hint in result.err.partition("Error: ")[2]


def cpu_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick() -> None:
    """In CPU time, the least of some rounds, against Python: a busy or slow machine changes the ratio little."""
    program = str(Path(sys.executable).with_name("avvp"))
    python = min(cpu_seconds(sys.executable, "-c", "pass") for _ in range(_ROUNDS))
    ours = min(cpu_seconds(program, "-h") for _ in range(_ROUNDS))
    assert ours < _MOST * python, (ours, python)
