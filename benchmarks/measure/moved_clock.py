"""Run a Python program whose wall clock jumps: `python moved_clock.py SECONDS PROGRAM [ARGUMENT]...`."""

from __future__ import annotations

import runpy
import sys
import time


def move_clock(seconds: float) -> None:
    """Let this process's wall clock be ahead in every second second, and behind in the others.

    Args:
        seconds: how much.
    """
    real = time.time_ns

    def moved() -> int:
        ahead = int(time.monotonic()) % 2 == 0
        return real() + int(seconds * (1e9 if ahead else -1e9))

    time.time_ns = moved
    time.time = lambda: moved() / 1e9


if __name__ == "__main__":
    move_clock(float(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
