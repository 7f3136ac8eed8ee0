"""Python programs in processes of their own, which can be killed and whose memory can be watched."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from .moved_clock import move_clock

# What `avvp extract` and `avvp pseudo-label` import before they compute.
_PRELOADED = [
    "avvp.pipeline.batch.extract_task",
    "avvp.pipeline.cli.main",
    "avvp.pipeline.pseudo_labeling.task",
    "transformers.models.clap.modeling_clap",
    "transformers.models.clip.modeling_clip",
]

AVVP = Path(sys.executable).with_name("avvp")


class Program:
    """A running Python program.

    Args:
        script: file to run.
        arguments: of the program.
        log: file that its standard error is written to; its standard output is thrown away.
        forked: run the script in a fork of a server process that has already imported PyTorch and the package, as
            smoke modes do: importing takes most of a short run. Otherwise start a Python interpreter.
        clock: seconds that the program's wall clock is ahead in every second second, and behind in the others.
    """

    def __init__(
        self, script: Path, arguments: Sequence[object], log: Path, *, forked: bool, clock: float = 0.0
    ) -> None:
        texts = [str(argument) for argument in arguments]
        self._process: subprocess.Popen[bytes] | ForkServerProcess
        if forked:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_PRELOADED)
            self._process = context.Process(target=_run_script, args=(script, texts, log, clock))
            self._process.start()
        else:
            with log.open("wb") as file:
                runner = [Path(__file__).with_name("moved_clock.py"), str(clock)] if clock else []
                self._process = subprocess.Popen(
                    [sys.executable, *runner, script, *texts], stdout=subprocess.DEVNULL, stderr=file
                )
        assert self._process.pid is not None
        self.pid, self._log = self._process.pid, log

    def poll(self) -> int | None:
        """Return the exit status, None while the program runs; negative for a signal."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait at most `timeout` seconds; return as `poll`."""
        limit = float("inf") if timeout is None else time.monotonic() + timeout
        while self.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        return self.poll()

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self.wait()

    def kill_descendant(self, word: bytes, chance: random.Random) -> bool:
        """Send SIGKILL to a process that the program started, or to one that those started.

        Args:
            word: in its command line.
            chance: chooses one of several.

        Returns:
            Whether there was one.
        """
        found = sorted(pid for pid in find_descendants(self.pid) if word in read_command(pid))
        if not found:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(found), signal.SIGKILL)
        return True

    def last_error(self) -> str:
        """Return the last line of its standard error."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "no error message"


def find_descendants(pid: int) -> set[int]:
    """Return the processes that a process started, and those that these started."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                status = (folder / "stat").read_text()
                parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found, waiting = set[int](), [pid]
    while waiting:
        children = [child for child, parent in parents.items() if parent == waiting[-1]]
        waiting.pop()
        found.update(children)
        waiting += children
    return found


def spent_seconds(pid: int) -> float:
    """Return the processor time of a process and of all that it has started, 0 if it has ended."""
    total = 0.0
    for process in (pid, *find_descendants(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own, and of children that have ended
    return total


def read_command(pid: int) -> bytes:
    """Return the command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _run_script(script: Path, arguments: Sequence[str], log: Path, clock: float) -> None:
    if clock:
        move_clock(clock)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
