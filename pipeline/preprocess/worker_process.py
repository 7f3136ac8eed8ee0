"""The other end of `decode_worker`: starts a decoding process, feeds it files, kills it when it hangs."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import Stream
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..errors import DecodeTimeoutError, MediaError
from .input_kinds import KINDS
from .media_summary import MediaFacts, MediaSummary

_SLOTS = 6
_SLOT_BYTES = 2 << 20  # more than a second of a video needs
_GRACE = 30.0  # seconds beyond the decoders' own limit after which the process that runs them counts as hung
# Not `-m`, which would let a file named like a library, in the folder that the program is run from, take its place.
_PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path);"
    "from avvp.pipeline.preprocess.worker_main import main; main(*sys.argv[1:])"
)


class DecodeWorker:
    """One decoding process, started when it is first needed and again after it was killed."""

    def __init__(self, profile: str, options: DecodeOptions = DEFAULT_OPTIONS, *, inputs: str = "networks") -> None:
        """Prepare a worker; no process is started yet.

        Args:
            profile: name of the profile that inputs are made for.
            options: decoder, time limit, debugging.
            inputs: what files are decoded for, a key of `input_kinds.KINDS`.
        """
        self._profile, self._options, self._inputs = profile, options, inputs
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self._unread = b""

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return None if self._process is None else self._process.pid

    def decode(
        self, path: Path, streams: Sequence[Stream], put: Callable[[Stream, NDArray[Any]], None]
    ) -> MediaSummary:
        """Decode a file. put: called with every array of inputs (n, *shape), which it must copy.

        Raises MediaError for what cannot be decoded, for a process that died over it, and DecodeTimeoutError for one
        that made no progress.
        """
        message: dict[str, Any] = {}
        try:
            if self._process is None:
                self._start()
            self._send({"file": str(path), "streams": list(streams)})
            while not message.keys() & {"failed", "summary"}:
                message = self._receive(path)
                if "slot" in message:
                    for stream, inputs in self._arrays(message["slot"], message["arrays"]):
                        put(stream, inputs)
                    self._send({"free": message["slot"]})
        except (BrokenPipeError, ValueError):  # it is gone, or `stop` has closed its input
            raise self._died(path) from None
        except BaseException:
            self.close()  # what it still has to say belongs to no file
            raise
        if "failed" in message:
            raise MediaError(path, message["failed"])
        summary = message["summary"]
        return MediaSummary(summary["rows"], MediaFacts(**summary["facts"]), tuple(summary["warnings"]))

    def stop(self) -> None:
        """Break off what is being decoded, from another thread."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def close(self) -> None:
        """End the process; the decoder that it runs ends with it."""
        process, self._process, self._unread = self._process, None, b""
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()  # which tells it to kill its decoder and leave
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _start(self) -> None:
        with _memory_file() as file:
            file.truncate(_SLOTS * _SLOT_BYTES)
            self._memory = mmap.mmap(file.fileno(), _SLOTS * _SLOT_BYTES)
            settings = {"inputs": self._inputs, "profile": self._profile, "options": asdict(self._options)}
            numbers = [str(number) for number in (file.fileno(), _SLOT_BYTES, _SLOTS)]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *numbers, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._options.debug else subprocess.DEVNULL,
                pass_fds=(file.fileno(),),
                start_new_session=True,  # Ctrl-C is for us to handle
            )

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def _receive(self, path: Path) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        parts = [self._unread]
        while b"\n" not in parts[-1]:
            limit = self._options.timeout + _GRACE
            if not poll.poll(1000 * limit):
                self.close()
                raise DecodeTimeoutError(path, f"decoding made no progress for {limit:g} s and was stopped")
            received = os.read(descriptor, 1 << 20)
            if not received:
                raise self._died(path)
            parts.append(received)
        line, _, self._unread = b"".join(parts).partition(b"\n")
        return json.loads(line)

    def _died(self, path: Path) -> MediaError:
        assert self._process is not None
        process = self._process
        self.close()
        status = process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return MediaError(path, f"the process that decoded it {how}")

    def _arrays(self, slot: int, arrays: Sequence[tuple[Stream, int]]) -> list[tuple[Stream, NDArray[Any]]]:
        assert self._memory is not None
        found, start = [], slot * _SLOT_BYTES
        for stream, count in arrays:
            form = KINDS[self._inputs].formats[stream]
            shape = (count, *form.shape)
            found.append((stream, np.ndarray(shape, form.dtype, buffer=self._memory, offset=start)))
            start += count * form.nbytes
        return found


def _memory_file() -> Any:
    """Memory that another process can be handed; it is gone when both are."""
    if not hasattr(os, "memfd_create"):  # not Linux
        return tempfile.TemporaryFile(prefix="avvp-inputs-")
    return os.fdopen(os.memfd_create("avvp-inputs"), "w+b")
