"""Run every command that reads events on hostile files, each in a process of its own, and check how it ends.

    nice python benchmarks/hostile.py [--size 20000] [--only NAME]

The files are those of `tests/support/hostile_events.py`: JSON, CSV, TSV, LLP, Audacity, TextGrid and EAF of strangers,
with up to 400,000 characters, rows, tags or levels at the default size. Prints a line for each command: files, the most
CPU seconds, the most seconds by the clock and the largest resident memory. Fails if a command ends with another exit
status than 0, 1 or 2, with a traceback or several lines of errors, after more than 5 s of CPU time, or with more than
1 GB of memory.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure.hostile_files import COMMANDS, Ending, arguments, hostile_events, write_annotations
from measure.memory import peak_mib
from measure.options import make_parser
from measure.programs import AVVP

_SECONDS = 5.0  # CPU time of a command
_TIMEOUT = 60.0  # seconds by the clock
_MIB = 1000**3 / 2**20  # of resident memory
_ADDRESS_SPACE = 4 << 30  # bytes, most of which are never touched: libraries and stacks of threads
_SMOKE = ("label_markup.events.json", "digits.TextGrid", "laughs.eaf")


@dataclass
class Figures:
    """Of one command, over all files: the largest of each, and the name of the file."""

    files: int = 0
    cpu: tuple[float, str] = (0.0, "")
    clock: tuple[float, str] = (0.0, "")
    memory: tuple[float, str] = (0.0, "")  # MiB


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--size", type=int, default=20_000, help="of what is repeated in a file [default: 20000]")
    parser.add_argument("--only", metavar="NAME", help="files with this in their names")
    options = parser.parse_args(argv)
    files = hostile_events(100 if options.smoke else options.size)
    chosen = [name for name in files if (name in _SMOKE if options.smoke else (options.only or "") in name)]
    commands = list(COMMANDS)[:2] if options.smoke else list(COMMANDS)
    figures = {command: Figures() for command in commands}
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_annotations(folder / "annotations")
        for name in chosen:
            file = folder / "in" / ("x.events.json" if name.endswith(".events.json") else name)
            file.parent.mkdir()
            file.write_bytes(files[name])
            for command in commands:
                (folder / "out").mkdir()
                problem = measure(arguments(command, file, folder / "out", data), name, figures[command])
                problems += [f"{name}, {command}: {problem}"] if problem else []
                shutil.rmtree(folder / "out")
            shutil.rmtree(file.parent)
    print(f"{len(chosen)} files, {len(chosen) * len(commands)} runs, {len(problems)} problems")
    print("command                | files | CPU s | clock s | MiB | most CPU, most memory")
    for command, of in figures.items():
        numbers = f"{of.files:5} | {of.cpu[0]:5.1f} | {of.clock[0]:7.1f} | {of.memory[0]:3.0f}"
        print(f"{command:22} | {numbers} | {of.cpu[1]}, {of.memory[1]}")
    if problems:
        sys.exit("\n".join(problems))


def measure(command: Sequence[str], name: str, figures: Figures) -> str:
    """Run a command, add it to the figures, and return what is wrong with how it ended."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([AVVP, *command], stdout=subprocess.DEVNULL, stderr=errors)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        status, used, memory = _wait(process, started + _TIMEOUT)
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    cpu, clock = used.ru_utime + used.ru_stime, time.monotonic() - started
    figures.files += 1
    figures.cpu = max(figures.cpu, (cpu, name))
    figures.clock = max(figures.clock, (clock, name))
    figures.memory = max(figures.memory, (memory, name))
    too_large = f"{memory:.0f} MiB" if memory > _MIB else ""
    return Ending(status, cpu, text).problem(most_seconds=_SECONDS) or too_large


def _wait(process: subprocess.Popen[bytes], end: float) -> tuple[int, resource.struct_rusage, float]:
    """Wait for a process, kill it at the end of its time; return its status, what it used and its peak in MiB.

    The peak is read while it runs: that of `wait4` includes the copy of this process that it was at first.
    """
    peak = 0.0
    while True:
        with contextlib.suppress(OSError, IndexError):  # it may have ended since
            peak = peak_mib(process.pid)
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used, peak
        if time.monotonic() > end:
            process.kill()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
