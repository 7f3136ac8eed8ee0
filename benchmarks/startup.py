"""Measure how long `avvp-parse` takes until it decodes, and in total, for one clip.

Decoding has begun when a process below the program has opened the clip. The least of several rounds is printed: other
programs only ever add to it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure.inputs import generate_clip

_POLL_INTERVAL = 0.005  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program several times and print the least figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--program", type=Path, default=Path(sys.executable).with_name("avvp-parse"))
    parser.add_argument("--smoke", action="store_true", help="one round with a clip of two seconds")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        clip = generate_clip(Path(folder) / "clip.mp4", seconds=2 if options.smoke else 10, size="320x240").resolve()
        command = [str(options.program), str(clip), "--weights", "demo", "-q", "-o", f"{folder}/events.json"]
        rounds = [_run(command, clip) for _ in range(1 if options.smoke else options.rounds)]
    best = [min(figures) for figures in zip(*rounds, strict=True)]
    for name, seconds, processor in zip(("until decoding", "in total"), best[::2], best[1::2], strict=True):
        print(f"{name}: {seconds:.2f} s, {processor:.2f} s of processor time")
    return 0


def _run(command: Sequence[str], clip: Path) -> tuple[float, float, float, float]:
    """Return seconds and processor time until a child has opened the clip, and until the end."""
    started, decoding, spent = time.monotonic(), 0.0, 0.0
    process = subprocess.Popen(command)
    while not decoding and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        children = list(descendants(process.pid))
        if any(has_open(child, clip) for child in children):
            decoding = time.monotonic() - started
            spent = sum(map(_processor_time, (process.pid, *children)))
        time.sleep(_POLL_INTERVAL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not decoding:
        raise SystemExit(f"{command[0]} failed, or did not decode in a process of its own")
    return decoding, spent, time.monotonic() - started, usage.ru_utime + usage.ru_stime


def _processor_time(pid: int) -> float:
    """Return the seconds that a process has computed, with its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and those that these started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return
    for child in children:
        yield child
        yield from descendants(child)


def has_open(pid: int, path: Path) -> bool:
    """Return whether a process has a file open."""
    try:
        return any(file.readlink() == path for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
