"""Hostile files of every kind end a command with 0, 1 or 2 and a clear line, within limits of time and memory."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from avvp.pipeline.cli.main import avvp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.command import Result, Run
from support.hostile_kinds import KINDS, Kind, train_workspace, write_workspace

# AVVP_HOSTILE_EXAMPLES=1000 tries more of each kind.
EXAMPLES = int(os.environ.get("AVVP_HOSTILE_EXAMPLES", "6"))
_MOST_SECONDS = 5.0  # of CPU
_MOST_MEMORY = 500 << 20  # bytes above what the process needed before
_MOST_LINES = 26  # a headline, 20 problems, how many more there are, and the usage
_MOST_CHARACTERS = 1_100  # in a line


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Path]:
    root = write_workspace(tmp_path_factory.mktemp("hostile"), tiny_bundle)
    assert not avvp.main(train_workspace(root), standalone_mode=False)
    yield root
    shutil.rmtree(root)


def peak_memory(*, reset: bool = False) -> int:
    """Return the most memory that this process has used since the last reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def problems(result: Result, kind: Kind) -> list[str]:
    """Return what is wrong with the end of a command."""
    lines = result.err.strip().split("\n")
    names = (Path(kind.file).name, Path(kind.file).stem, *kind.others)
    rules = {
        f"exit status {result.status}": result.status in {0, 1, 2},
        "a traceback": "Traceback" not in result.err and "internal error" not in result.err,
        "no message": not result.status or bool(result.err.strip()),
        "too many lines": len(lines) <= _MOST_LINES,
        "a line that is too long": max(map(len, lines)) <= _MOST_CHARACTERS,
        "control characters": all(character.isprintable() for line in lines for character in line),
        "the file is not named": not result.status or any(name in result.err for name in names),
    }
    return [problem for problem, holds in rules.items() if not holds]


@pytest.mark.parametrize("name", KINDS)
def test_the_valid_file_is_usable(name: str, run: Run, workspace: Path) -> None:
    """Otherwise the changes below would be tried on a file that is refused anyway."""
    for command in KINDS[name].commands:
        _clear(workspace)
        result = run(*(part.replace("{}", str(workspace)) for part in command))
        assert result.status == 0 or any(other in result.err for other in KINDS[name].others), result.err


@pytest.mark.parametrize("name", KINDS)
@given(rng=st.randoms(use_true_random=False))
@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_a_hostile_file_ends_with_one_clear_line(name: str, run: Run, workspace: Path, rng: random.Random) -> None:
    kind = KINDS[name]
    file = workspace / kind.file
    valid = file.read_bytes()
    content, arguments = kind.hostile(valid, rng), kind.arguments(workspace, rng)
    _clear(workspace)
    file.write_bytes(content)
    before, started = peak_memory(reset=True), time.process_time()
    try:
        result = run(*arguments)
    finally:
        file.write_bytes(valid)
    seconds, memory = time.process_time() - started, peak_memory() - before
    shown = f"{' '.join(arguments)}\n{content[:2_000]!r}\n{result.err[-2_000:]}"
    assert not problems(result, kind), shown
    assert seconds < _MOST_SECONDS, shown
    assert memory < _MOST_MEMORY, f"{memory >> 20} MiB\n{shown}"


def _clear(workspace: Path) -> None:
    """Remove what earlier commands have written."""
    shutil.rmtree(workspace / "out")
    (workspace / "out").mkdir()
