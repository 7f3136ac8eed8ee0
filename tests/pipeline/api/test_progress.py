"""The bar of Python calls: on a terminal alone, and what the caller prints stays where it belongs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

PROGRAM = """
from avvp.pipeline.api.progress import follow

with follow(True, 2) as reports:
    decoding = reports.of_decoding("clips/one.mp4", 1)
    decoding("video", 1.0, 10.0)
    reports.finish("clips/one.mp4", 1)
    print("one is done")
    reports.finish("two\x1b[2J.mp4", 2, failed=True)
"""


def run_with_terminal(*, for_output: bool) -> tuple[str, str]:
    """What goes to standard output, where it is a file, and to the terminal."""
    terminal, inside = pty.openpty()
    output = inside if for_output else subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=output, stderr=inside)
    os.close(inside)
    shown = b""
    try:
        while part := os.read(terminal, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    text = "" if process.stdout is None else process.stdout.read().decode()
    assert process.wait() == 0
    os.close(terminal)
    if process.stdout is not None:
        process.stdout.close()
    return text, shown.decode()


def test_output_that_is_piped_stays_in_the_pipe() -> None:
    text, shown = run_with_terminal(for_output=False)
    assert text == "one is done\n"
    assert "one is done" not in shown
    assert "2/2 files" in shown
    assert "\\x1b[2J" in shown  # escaped
    assert "\x1b[2J" not in shown


def test_output_on_the_terminal_is_above_the_bar() -> None:
    _, shown = run_with_terminal(for_output=True)
    assert "one is done" in shown
    assert "2/2 files" in shown
