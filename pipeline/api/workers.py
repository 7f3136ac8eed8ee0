"""Decode workers that stay from file to file, and files that are decoded ahead of the networks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from ...extractors.sampling import Stream
from ..batch.stoppable_queue import StoppableQueue
from ..decode.options import DecodeOptions
from ..preprocess.media_summary import MediaSummary
from ..preprocess.worker_process import DecodeWorker

_AHEAD = 64  # arrays of inputs that wait for the networks, of one file: some 20 s of media, 30 MB

Put = Callable[[Stream, NDArray[Any]], None]


class ParserClosedError(RuntimeError):
    """A parser was used after `close`."""

    def __init__(self) -> None:
        super().__init__("this parser is closed; load another one with avvp.load")


class WorkerPool:
    """Decode workers of one profile and one set of options. Thread-safe."""

    def __init__(self) -> None:
        self._idle: list[DecodeWorker] = []
        self._busy: set[DecodeWorker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()

    @contextlib.contextmanager
    def lend(self, profile: str, options: DecodeOptions) -> Iterator[DecodeWorker]:
        """Lend a worker to one thread; it stays for the next.

        Args:
            profile: name of the profile that inputs are made for.
            options: decoder, resampler, time limit; always the same ones.

        Yields:
            A worker for this caller alone.

        Raises:
            ParserClosedError: the pool is closed, or was closed in the meantime.
            RuntimeError: this process was forked from that of the pool.
        """
        self.check_process()
        with self._lock:
            if self._closed:
                raise ParserClosedError
            worker = self._idle.pop() if self._idle else DecodeWorker(profile, options)
            self._busy.add(worker)
        try:
            yield worker
        except Exception as error:
            if self._closed:
                raise ParserClosedError from error
            raise
        finally:
            with self._lock:
                self._busy.discard(worker)
                if not self._closed:
                    self._idle.append(worker)
            if self._closed:
                worker.close()

    def check_process(self) -> None:
        """Raise RuntimeError if this process was forked from that of the pool."""
        if os.getpid() != self._process:
            raise RuntimeError("this parser was loaded before the process forked; load one in each process")

    def close(self) -> bool:
        """End the workers; those that decode stop, and their callers get ParserClosedError.

        Returns:
            Whether this is the process of the pool: the workers of a process that forks remain its own.
        """
        if os.getpid() != self._process:
            return False
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.stop()
        for worker in idle:
            worker.close()
        return True


class DecodeAhead:
    """One file that is decoded in a thread while the networks compute another."""

    def __init__(self, decode: Callable[[Put], MediaSummary]) -> None:
        """Start to decode.

        Args:
            decode: decodes the file, hands its inputs to its argument, and returns its summary.
        """
        self._stop = threading.Event()
        self._queue: StoppableQueue[tuple[Stream, NDArray[Any]] | MediaSummary | BaseException] = StoppableQueue(
            _AHEAD, self._stop
        )
        threading.Thread(target=self._run, args=(decode,), daemon=True).start()

    def read(self, put: Put) -> MediaSummary:
        """Hand over the inputs in their order until the file ends.

        Args:
            put: called with the stream and each array of inputs (n, *shape).

        Returns:
            Rows, facts and warnings of the file.

        Raises:
            BaseException: what stopped the decoding.
        """
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, MediaSummary):
                return item
            put(*item)
        raise ParserClosedError

    def close(self) -> None:
        """Stop decoding at the next input; does not wait for it."""
        self._stop.set()

    def _run(self, decode: Callable[[Put], MediaSummary]) -> None:
        try:
            self._queue.put(decode(self._put))
        except BaseException as error:
            self._queue.put(error)

    def _put(self, stream: Stream, inputs: NDArray[Any]) -> None:
        self._queue.put((stream, inputs.copy()))
        if self._stop.is_set():
            raise _StoppedError


class _StoppedError(Exception):
    """Nobody reads the inputs any more."""
