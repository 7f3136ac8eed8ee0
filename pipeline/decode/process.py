"""Run decoding programs in child processes: with a time limit, on one open file, and what they say of their end.

A program that gets a file descriptor needs no path: names with dashes, quotes, percent signs or newlines cannot be
misread as options or patterns, and with every other protocol disabled no playlist can make it open another file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AVVPError, DecodeTimeoutError, MediaError, category_of
from ..memory import is_out_of_memory
from ..text import escape
from .container.media_file import open_media_file

CHUNK = 1 << 20  # bytes of output that are read at once
DEFAULT_TIMEOUT = 60.0  # seconds that decoding may take, and as much again for every 10 s of media
_KEPT_ERRORS = 20  # last error lines of the log
_POLL_LIMIT = 2**31 - 1  # milliseconds
_running: weakref.WeakSet[DecoderProcess] = weakref.WeakSet()  # for `kill_all`
# Anchored, as every expression for the log: the log also contains the file's metadata, which is untrusted.
_ERROR = re.compile(r"(\[[^\]]*\] )*\[(error|fatal)\] ")


def python_program(module: str, *arguments: str) -> list[str]:
    """Return the command that calls `main` of a module in a Python process of its own.

    Not `-m`, which would import a file of the working directory in place of a library of the same name.

    Args:
        module: below `avvp.pipeline`.
        arguments: of `main`.

    Returns:
        The program and its arguments.
    """
    code = f"from avvp.pipeline.{module} import main; main(*sys.argv[1:])"
    return [sys.executable, "-c", f"import sys; sys.path[:] = filter(None, sys.path);{code}", *arguments]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, even if it hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def describe_exit(status: int) -> str:
    """Say how a process ended: `status` is negative where a signal killed it."""
    if status == -signal.SIGKILL:
        return f"was killed by signal {-status} (where memory is short, by the system: use fewer --workers)"
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def end_worker(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process that ends itself once its standard input is closed.

    Args:
        process: with pipes to its standard input and output.
        grace: seconds after which it is killed.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def failure_message(error: Exception) -> dict[str, Any]:
    """Describe why a file failed, for the parent process, which turns it into an error with `read_failure`.

    Args:
        error: of the file or the set-up, one about memory, or a bug, whose traceback is printed to standard error.

    Returns:
        A JSON-ready message with the keys `failed`, `timeout` and `category`.
    """
    if isinstance(error, MediaError):
        return {
            "failed": error.cause,
            "timeout": isinstance(error, DecodeTimeoutError),
            "category": error.category,
        }
    if isinstance(error, AVVPError):  # AVVP_FFMPEG names no ffmpeg
        return {"failed": str(error), "timeout": False, "category": category_of(error)}
    if is_out_of_memory(error):
        cause = "decoding is out of memory; use fewer --workers"
        return {"failed": cause, "timeout": False, "category": "out-of-memory"}
    traceback.print_exception(error)
    cause = f"internal error, please report it: {type(error).__name__}: {escape(error)}"
    return {"failed": cause, "timeout": False, "category": category_of(error)}


def read_failure(path: Path, message: Mapping[str, Any]) -> MediaError:
    """Return the error that a message of `failure_message` describes."""
    return (DecodeTimeoutError if message["timeout"] else MediaError)(path, message["failed"], message["category"])


def kill_all() -> None:
    """Kill every running decoder of this process, before an exit that does not unwind. Any thread may call it."""
    for process in list(_running):
        process.kill()


class DecoderProcess:
    """Running decoder whose output is read with a time limit. A context manager; on exit the program is killed.

    Attributes:
        path: the media file.
        timeout: seconds without output after which the program counts as hung.
        errors: the last lines of its log that are errors.
    """

    def __init__(
        self,
        path: Path,
        command: Callable[[int], Sequence[str]],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Start the program.

        Args:
            path: the media file.
            command: receives the number of the descriptor that the program reads the file from, returns its argument
                list.
            timeout: seconds without output after which the program counts as hung.
            on_line: called with every line of the log, from another thread.

        Raises:
            MediaError: the file cannot be opened, see `open_media_file`.
        """
        self.path = path
        self.timeout = timeout
        self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._on_line = on_line
        self._buffer = bytearray()
        descriptor = open_media_file(path)
        try:
            self._process = subprocess.Popen(
                list(command(descriptor)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(descriptor,),
                # Ctrl-C goes to the parent only, which kills the decoder, so that the decoder prints nothing.
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        _running.add(self)
        assert self._process.stdout is not None
        self._stdout = self._process.stdout.fileno()
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def kill(self) -> None:
        """Kill the program without waiting for its end."""
        self._process.kill()

    def close(self) -> int:
        """Kill the program if it still runs, read the rest of its log, and return its exit status."""
        if self._process.poll() is None:
            self._process.kill()
        status = self._process.wait()
        self._log_reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return status

    def finish(self) -> int:
        """Wait for a program whose output has ended.

        Returns:
            The exit status.

        Raises:
            DecodeTimeoutError: the program does not end within the time limit.
        """
        try:
            self._process.wait(self.timeout)
        except subprocess.TimeoutExpired as error:
            raise self._hung() from error
        return self.close()

    def read_line(self) -> bytes:
        """Read the next line of output, with its newline; empty at the end.

        Raises:
            DecodeTimeoutError: no output within the time limit.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if not self._fill():
                end = len(self._buffer) - 1
                break
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def read_into(self, array: NDArray[Any]) -> int:
        """Fill a contiguous array from the output.

        Args:
            array: any shape and type; its bytes are overwritten.

        Returns:
            Number of bytes read, smaller than the array only at the end of the output.

        Raises:
            DecodeTimeoutError: no output within the time limit.
        """
        view = array.reshape(-1).view(np.uint8).data
        filled = min(len(view), len(self._buffer))
        view[:filled] = self._buffer[:filled]
        del self._buffer[:filled]
        while filled < len(view):
            self._wait()
            received = os.readv(self._stdout, [view[filled:]])
            if received == 0:
                break
            filled += received
        return filled

    def _fill(self) -> bool:
        self._wait()
        received = os.read(self._stdout, CHUNK)
        self._buffer += received
        return bool(received)

    def _wait(self) -> None:
        poll = select.poll()  # unlike select(), it accepts descriptors above 1,023
        poll.register(self._stdout, select.POLLIN)
        if not poll.poll(min(1000 * self.timeout, _POLL_LIMIT)):
            raise self._hung()

    def _hung(self) -> DecodeTimeoutError:
        self.close()
        return DecodeTimeoutError(self.path, f"decoding made no progress for {self.timeout:g} s and was stopped")

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if _ERROR.match(line):
                self.errors.append(line)
            if self._on_line is not None:
                self._on_line(line)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
