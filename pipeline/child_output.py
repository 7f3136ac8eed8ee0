"""Standard output of a child process, for its messages alone: what libraries print goes to standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import IO, Any

_ALIVE_INTERVAL = 1.0  # seconds


def take_standard_output() -> IO[bytes]:
    """Return a file that writes to standard output, to which nothing else is written from now on."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


class MessageWriter:
    """Writer of JSON objects, one per line, and of the bytes that belong to them, to standard output."""

    def __init__(self) -> None:
        self._output = take_standard_output()
        self._last_message = time.monotonic()

    def send(self, message: dict[str, Any], contents: Iterable[bytes | memoryview] = ()) -> None:
        """Write a message.

        Args:
            message: JSON-ready.
            contents: bytes that follow it.
        """
        self._output.write(json.dumps(message).encode() + b"\n")
        for content in contents:
            self._output.write(content)
        self._output.flush()
        self._last_message = time.monotonic()

    def keep_alive(self, *_progress: object) -> None:
        """Progress callback: report at most once per second that work goes on."""
        if time.monotonic() - self._last_message > _ALIVE_INTERVAL:
            self.send({"alive": True})
