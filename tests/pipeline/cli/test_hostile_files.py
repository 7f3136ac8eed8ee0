"""Hostile files of every kind end a command with 0, 1 or 2 and a clear line, within limits of time and memory."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.command import Run, find_faults
from support.hostile_kinds import KINDS, clear_outputs

# AVVP_HOSTILE_EXAMPLES=1000 tries more of each kind.
EXAMPLES = int(os.environ.get("AVVP_HOSTILE_EXAMPLES", "6"))
_MOST_SECONDS = 5.0  # of CPU
_MOST_MEMORY = 500 << 20  # bytes above what the process needed before


def peak_memory(*, reset: bool = False) -> int:
    """Return the most memory that this process has used since the last reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


@pytest.mark.parametrize("name", KINDS)
def test_the_valid_file_is_usable(name: str, run: Run, workspace: Path) -> None:
    """Otherwise the changes below would be tried on a file that is refused anyway."""
    for command in KINDS[name].commands:
        clear_outputs(workspace)
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
    clear_outputs(workspace)
    file.write_bytes(content)
    before, started = peak_memory(reset=True), time.process_time()
    try:
        result = run(*arguments)
    finally:
        file.write_bytes(valid)
    seconds, memory = time.process_time() - started, peak_memory() - before
    shown = f"{' '.join(arguments)}\n{content[:2_000]!r}\n{result.err[-2_000:]}"
    assert not find_faults(result, (Path(kind.file).name, Path(kind.file).stem, *kind.others)), shown
    assert seconds < _MOST_SECONDS, shown
    assert memory < _MOST_MEMORY, f"{memory >> 20} MiB\n{shown}"
