"""Run programs in a pseudo terminal, as a user does, and read its screen."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Session:
    """What a program left on a terminal.

    Attributes:
        status: of its exit.
        screen: all that it wrote, without colours; what was overwritten in a line is there as well.
        first: seconds until it wrote something.
    """

    status: int
    screen: str
    first: float

    @property
    def lines(self) -> list[str]:
        """The lines that stay: of a line that was written several times, what was written last."""
        return [line.rstrip().rsplit("\r", 1)[-1] for line in self.screen.replace("\r\n", "\n").split("\n")]


def run_in_terminal(
    *arguments: object, answers: tuple[str, ...] = (), environment: dict[str, str] | None = None, seconds: float = 300
) -> Session:
    """Run an installed program in a terminal of 100 columns.

    Args:
        arguments: the program's name and its arguments.
        answers: typed one after another, each when a question ("?") is on the screen.
        environment: variables to set, beside those of this process.
        seconds: after which it is aborted; the screen then has what its threads were at.
    """
    command = [str(Path(sys.executable).with_name(str(arguments[0]))), *map(str, arguments[1:])]
    started = time.monotonic()
    child, terminal = pty.fork()
    if child == 0:
        own = {"TERM": "xterm", "COLUMNS": "100", "PYTHONFAULTHANDLER": "1"}
        variables = {**os.environ, **own, **(environment or {})}
        os.execve(command[0], command, variables)  # noqa: S606 - ourselves
    waiting, written, first = list(answers), b"", 0.0
    limits = [(seconds, signal.SIGABRT), (seconds + 10, signal.SIGKILL)]
    try:
        while limits:
            if time.monotonic() - started > limits[0][0]:
                os.kill(child, limits.pop(0)[1])
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                block = os.read(terminal, 65_536)
            except OSError:  # the program has ended
                break
            first = first or time.monotonic() - started
            written += block
            if waiting and written.rstrip().endswith(b"[Y/n]:"):
                os.write(terminal, f"{waiting.pop(0)}\n".encode())
    finally:
        os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Session(status, _CONTROL.sub("", written.decode("utf-8", "replace")), first)
