"""Peak resident memory of processes, as Linux reports it in /proc."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .programs import Program

_INTERVAL = 0.05  # seconds between two readings


class Peaks(NamedTuple):
    """Peak resident memory, in MiB."""

    program: float
    child: float  # the largest process that the program started, directly or not


def watch_peaks(program: Program, also: Callable[[], object] = lambda: None) -> Peaks:
    """Read the peaks of a program and its children until it ends; `also` is called with each reading."""
    peak = child = 0.0
    while program.poll() is None:
        also()
        with contextlib.suppress(OSError, IndexError):  # it may have ended since
            peak = max(peak, peak_mib(program.pid))
        child = max([child, *_child_peaks(program.pid)])
        time.sleep(_INTERVAL)
    return Peaks(peak, child)


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process, by default of this one."""
    fields = Path(f"/proc/{pid}/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) * 1024


def peak_mib(pid: int | str) -> float:
    """Return the peak of the resident memory of a process since it executed its program, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _child_peaks(pid: int) -> list[float]:
    peaks: list[float] = []
    with contextlib.suppress(OSError, IndexError):  # a process may have ended since
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                # A child is a copy of its parent until it executes its own program.
                if _command_line(child) != _command_line(pid):
                    peaks += [peak_mib(child), *_child_peaks(int(child))]
    return peaks


def _command_line(pid: int | str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
