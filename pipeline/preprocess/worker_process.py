"""Client of the decode worker: start, submit, time out, kill."""

from __future__ import annotations

import atexit
import contextlib
import json
import mmap
import os
import select
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import get_profile
from ...extractors.sampling import Stream
from ..decode.container.media_facts import DecodeProgress, MediaFacts
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..decode.process import describe_exit, end_worker, python_program, read_failure
from ..errors import DecodeTimeoutError, MediaError
from .base import GROUPS
from .input_kinds import KINDS
from .media_summary import MediaSummary

_SLOTS = 6
_SLOT_BYTES = 2 << 20  # more than the inputs of one second
# Threads of the libraries of numpy and PyTorch: each worker would start as many as there are cores, to resample audio,
# and where there are as many workers, they wait for each other most of the time.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_GRACE = 30.0  # seconds added to the decoders' time limit after which the worker process counts as hung


class DecodeWorker:
    """One worker process, started by `start` or the first `decode`, and again by the first after a failure."""

    def __init__(self, profile: str, options: DecodeOptions = DEFAULT_OPTIONS) -> None:
        """Prepare a worker; no process is started yet.

        Args:
            profile: name of the profile that inputs are made for.
            options: decoder, resampler, time limit, debugging; the part of a file is an argument of `decode`.
        """
        self._profile, self._options = profile, options
        self._formats = KINDS[get_profile(profile).inputs].formats
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self._unread = b""
        self._begun: dict[str, Any] | None = None  # the command of a file that nobody has received yet

    @property
    def pid(self) -> int | None:
        """Process id of the running worker, None if there is none."""
        return None if self._process is None else self._process.pid

    def begin(self, path: Path, streams: Sequence[Stream], *, start: float = 0.0, end: float | None = None) -> None:
        """Begin to decode a file, until the shared memory is full; `decode` with the same arguments goes on with it.

        Args:
            path: a media file.
            streams: the streams to build inputs of.
            start: seconds on the file's clock, see `DecodeOptions`.
            end: the same; None is the end of the file.

        Raises:
            BrokenPipeError: the process has ended.
        """
        # The worker has the working folder in which it was started.
        absolute = path if path.is_absolute() else Path.cwd() / path
        command = {"file": str(absolute), "streams": list(streams), "start": start, "end": end}
        if self._begun == command and self._process is not None and self._process.poll() is None:
            return
        if self._begun is not None:  # of another file, or of a process that has ended
            self.close()
        self.start()
        self._send(command)
        self._begun = command

    def decode(
        self,
        path: Path,
        streams: Sequence[Stream],
        put: Callable[[Stream, NDArray[Any]], None],
        *,
        start: float = 0.0,
        end: float | None = None,
        progress: DecodeProgress | None = None,
    ) -> MediaSummary:
        """Decode a file, or a part of it.

        Args:
            path: a media file.
            streams: the streams to build inputs of.
            put: called with the stream and each array of inputs (n, *shape), which it must copy, or of groups, see
                `InputReader`.
            start: seconds on the file's clock, see `DecodeOptions`.
            end: the same; None is the end of the file.
            progress: called with the stage, seconds done and seconds in total (None if unknown).

        Returns:
            Rows, facts and warnings of the file.

        Raises:
            MediaError: the file cannot be decoded, or the worker process died.
            DecodeTimeoutError: the worker process made no progress and was killed.
        """
        message: dict[str, Any] = {}
        try:
            with self._noticing_end(path):
                self.begin(path, streams, start=start, end=end)
            self._begun = None
            while not message.keys() & {"failed", "summary"}:
                message = self._receive(path)
                for stream, groups in message.get("groups", {}).items():
                    put(stream, np.array(groups, GROUPS))
                if "slot" in message:
                    for stream, inputs in self._arrays(message["slot"], message["arrays"]):
                        put(stream, inputs)
                    with self._noticing_end(path):
                        self._send({"free": message["slot"]})
                elif "progress" in message and progress is not None:
                    progress(*message["progress"])
        except BaseException:
            self.close()  # discards its remaining messages
            raise
        if "failed" in message:
            raise read_failure(path, message)
        summary = message["summary"]
        facts = MediaFacts(**summary["facts"] | {"path": str(path)})
        return MediaSummary(summary["rows"], facts, tuple(summary["warnings"]))

    def stop(self) -> None:
        """Stop the decoding of the current file; another thread may call it."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def close(self) -> None:
        """End the worker process and its decoder."""
        process, self._process, self._unread, self._begun = self._process, None, b"", None
        if process is not None:
            end_worker(process, grace=2)  # the worker kills its decoder, too

    def start(self) -> None:
        """Start the process if it does not run: it imports its libraries while the caller does something else."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()  # of a process that was killed while it was idle
        with _memory_file() as file:
            file.truncate(_SLOTS * _SLOT_BYTES)
            self._memory = mmap.mmap(file.fileno(), _SLOTS * _SLOT_BYTES)
            settings = {"profile": self._profile, "options": asdict(self._options)}
            numbers = [str(number) for number in (file.fileno(), _SLOT_BYTES, _SLOTS)]
            self._process = subprocess.Popen(
                python_program("preprocess.worker_main", *numbers, json.dumps(settings)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._options.debug else subprocess.DEVNULL,
                pass_fds=(file.fileno(),),
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C goes to the parent only
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
        with self._noticing_end(path):
            return json.loads(line)

    @contextlib.contextmanager
    def _noticing_end(self, path: Path) -> Iterator[None]:
        """Raise MediaError where the process has ended, or `stop` has closed its input. `put` may raise the same."""
        try:
            yield
        except (BrokenPipeError, ValueError):
            raise self._died(path) from None

    def _died(self, path: Path) -> MediaError:
        assert self._process is not None
        process = self._process
        self.close()
        return MediaError(path, f"its decode worker {describe_exit(process.returncode)}", "crashed")

    def _arrays(self, slot: int, arrays: Sequence[tuple[Stream, int]]) -> list[tuple[Stream, NDArray[Any]]]:
        assert self._memory is not None
        views, start = [], slot * _SLOT_BYTES
        for stream, count in arrays:
            input_format = self._formats[stream]
            shape = (count, *input_format.shape)
            views.append((stream, np.ndarray(shape, input_format.dtype, buffer=self._memory, offset=start)))
            start += count * input_format.nbytes
        return views


_idle: dict[tuple[str, DecodeOptions], DecodeWorker] = {}  # workers of `shared_worker` that nobody uses
_idle_lock = threading.Lock()


@contextlib.contextmanager
def shared_worker(profile: str, options: DecodeOptions) -> Iterator[DecodeWorker]:
    """Lend a worker that stays for the next caller: starting its process takes longer than decoding a short clip.

    Args:
        profile: name of the profile that inputs are made for.
        options: decoder, resampler, time limit, debugging; the part is an argument of `DecodeWorker.decode`.

    Yields:
        A worker for this caller alone. It is closed when its settings are not the last that were asked for, and at the
        end of this process.
    """
    key = (profile, options.for_whole_files())
    with _idle_lock:
        worker = _idle.pop(key, None) or DecodeWorker(*key)
    try:
        yield worker
    except MediaError:  # of the file; the worker is as good as before
        _put_back(key, worker)
        raise
    except BaseException:
        worker.close()
        raise
    _put_back(key, worker)


def decode_ahead(path: Path, streams: Sequence[Stream], profile: str, options: DecodeOptions) -> None:
    """Begin to decode a file in a shared worker while this process imports its libraries and loads networks.

    Args:
        path: the file for which `shared_worker` is asked next.
        streams: the streams to build inputs of.
        profile: name of the profile that inputs are made for.
        options: decoder, resampler, time limit, debugging, part of the file.
    """
    with contextlib.suppress(BrokenPipeError), shared_worker(profile, options) as worker:
        worker.begin(path, streams, start=options.start, end=options.end)


def _put_back(key: tuple[str, DecodeOptions], worker: DecodeWorker) -> None:
    with _idle_lock:
        replaced = list(_idle.values())
        _idle.clear()
        _idle[key] = worker
    for other in replaced:
        other.close()


@atexit.register
def _close_idle() -> None:
    for worker in _idle.values():
        worker.close()


os.register_at_fork(after_in_child=_idle.clear)  # the workers of a process that forks remain its own


def _memory_file() -> Any:
    """Open a file in memory that a child process can inherit; it is freed when both processes have closed it."""
    if not hasattr(os, "memfd_create"):  # not Linux
        return tempfile.TemporaryFile(prefix="avvp-inputs-")
    return os.fdopen(os.memfd_create("avvp-inputs"), "w+b")
