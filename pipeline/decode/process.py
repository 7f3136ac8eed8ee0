"""Decoding programs run here: apart from us, fed one open file, read with a time limit, killed when they hang.

A program that is fed a file descriptor needs no path: names with dashes, quotes, percent signs or newlines cannot
confuse it, and with every other protocol switched off no playlist can lead it to another file.
"""

from __future__ import annotations

import os
import re
import select
import stat
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DecodeTimeoutError, MediaError

CHUNK = 1 << 20
DEFAULT_TIMEOUT = 60.0  # seconds without a byte of output after which a decoder counts as hung
_KEPT_ERRORS = 20
_POLL_LIMIT = 2**31 - 1  # milliseconds
# Anchored, here and wherever the log is read: it also holds the file's metadata, which anybody can have written.
_running: weakref.WeakSet[DecoderProcess] = weakref.WeakSet()
_ERROR = re.compile(r"(\[[^\]]*\] )*\[(error|fatal)\] ")


def open_media_file(path: Path) -> int:
    """A read-only descriptor of a regular file. Raises MediaError for anything else."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise MediaError(path, "no such file") from error
    except (OSError, ValueError) as error:
        raise MediaError(path, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    status = os.fstat(descriptor)
    cause = None
    if stat.S_ISDIR(status.st_mode):
        cause = "is a directory"
    elif not stat.S_ISREG(status.st_mode):
        cause = "is not a regular file"
    elif status.st_size == 0:
        cause = "the file is empty"
    if cause is not None:
        os.close(descriptor)
        raise MediaError(path, cause)
    return descriptor


def kill_all() -> None:
    """Kill every decoder that runs, from whatever thread, before the program leaves without unwinding."""
    for process in list(_running):
        process.kill()


class DecoderProcess:
    """A running decoder: a context manager that reads its output and never leaves it behind.

    command: receives the number of the descriptor that the program may read the media from, returns its argument
    list. on_line: called with every line of its log, from another thread; a MediaError that it raises ends the program
    and is raised by `finish`. timeout: seconds without output.
    """

    def __init__(
        self,
        path: Path,
        command: Callable[[int], Sequence[str]],
        *,
        timeout: float = DEFAULT_TIMEOUT,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self.timeout = timeout
        self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._on_line = on_line
        self._buffer = bytearray()
        self._verdict: MediaError | None = None
        descriptor = open_media_file(path)
        try:
            self._process = subprocess.Popen(
                list(command(descriptor)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(descriptor,),
                # Ctrl-C is for us to handle: we kill the decoder and say so, it does not print on its own.
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
        """End the program at once."""
        self._process.kill()

    def close(self) -> int:
        """End the program if it still runs; returns its exit status. Its log has then been read to the end."""
        if self._process.poll() is None:
            self._process.kill()
        status = self._process.wait()
        self._log_reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return status

    def finish(self) -> int:
        """Wait, within the time limit, for a program whose output has ended; returns its exit status."""
        try:
            self._process.wait(self.timeout)
        except subprocess.TimeoutExpired as error:
            raise self._hung() from error
        status = self.close()
        if self._verdict is not None:
            raise self._verdict
        return status

    def read_line(self) -> bytes:
        """The next line of output with its newline; empty at the end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if not self._fill():
                end = len(self._buffer) - 1
                break
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def read_into(self, array: NDArray[Any]) -> int:
        """Fill a contiguous array from the output; returns how many bytes came, fewer only at the end."""
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
        poll = select.poll()  # unlike select(), it bears descriptors beyond 1,024
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
            try:
                if self._on_line is not None and self._verdict is None:
                    self._on_line(line)
            except MediaError as error:
                self._verdict = error
                self._process.kill()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
