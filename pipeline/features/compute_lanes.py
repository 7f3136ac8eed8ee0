"""Threads of a CPU that compute batches of inputs beside each other.

Two networks of one core each are faster than one of two: no layer ends with a core that waits for the other.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import torch

from ...extractors.sampling import Stream

MOST_LANES = 16
_MOST_WAITING = 32 << 20  # bytes of the batches of one file that wait for a lane or are computed
Output = TypeVar("Output")


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Compute with one core within the context, and with PyTorch's former number of threads in this thread after it.

    For many small tensors, such as those of a parser's layers or of a weight file: what two cores gain there is less
    than what they wait for each other, and on a busy machine they wait for milliseconds each time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LanesClosedError(RuntimeError):
    """Batches were added to lanes that are closed, or waited there when they were closed."""


class ComputeLanes:
    """Threads with a part of the cores each. A context manager; several threads may submit at the same time.

    Attributes:
        count: of the lanes.
    """

    def __init__(self, cores: int) -> None:
        """Start the threads.

        Args:
            cores: of the CPU, divided among at most `MOST_LANES` lanes. PyTorch's number of threads in the caller's
                thread, and in threads that start later, stays as it is.
        """
        self.count = min(cores, MOST_LANES)
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="compute")
        self._waiting: list[tuple[int, int, Future[Any], Callable[[], Any]]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closed = False
        before, all_started = torch.get_num_threads(), threading.Barrier(self.count)

        def start() -> None:
            torch.get_num_threads()  # else the first call that asks would take the number of other threads
            torch.set_num_threads(max(1, cores // self.count))  # of this thread, and of all that start later
            all_started.wait()

        for started in [self._pool.submit(start) for _ in range(self.count)]:
            started.result()
        torch.set_num_threads(before)

    def __enter__(self) -> ComputeLanes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, compute: Callable[[], Output], *, rank: int) -> Future[Output]:
        """Call a function in the next lane that is free.

        Args:
            compute: the function.
            rank: the lowest of those that wait is called first. Where long calls come first, all lanes end together.

        Returns:
            Its result, once it has been called. A call that has not begun can be cancelled.

        Raises:
            LanesClosedError: after `close`.
        """
        future: Future[Output] = Future()
        with self._lock:
            if self._closed:
                raise LanesClosedError("these lanes are closed")
            heapq.heappush(self._waiting, (rank, next(self._numbers), future, compute))
            self._pool.submit(self._call_next)
        return future

    def close(self) -> None:
        """Cancel the calls that wait, and end the threads after those that they are at. Does not wait for them."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._pool.shutdown(wait=False)
        for _, _, future, _ in waiting:
            future.cancel()
            future.set_running_or_notify_cancel()  # without it, `concurrent.futures.wait` would wait on

    def _call_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return  # cancelled by `close`
            _, _, future, compute = heapq.heappop(self._waiting)
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)


@dataclass(frozen=True, eq=False)
class Batches:
    """How the inputs of files are computed. A context manager, which closes the lanes.

    Attributes:
        sizes: inputs in a batch of each stream.
        pad: fill the last batch with zeros: networks then always compute batches of one size.
        lanes: what computes; None for the thread that adds the inputs.
    """

    sizes: Mapping[Stream, int]
    pad: bool = False
    lanes: ComputeLanes | None = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lanes is not None:
            self.lanes.close()


class WaitingInputs:
    """The batches of one file that wait for lanes: a video of any length takes a bounded amount of memory."""

    def __init__(self, lanes: int, most: int = _MOST_WAITING) -> None:
        """Start with none.

        Args:
            lanes: for each of which there is room for a batch of any size, so that large ones leave none idle.
            most: bytes of batches beyond these.
        """
        self._lanes, self._most = lanes, most
        self._batches = self._bytes = 0
        self._changed = threading.Condition()

    def add(self, nbytes: int) -> None:
        """Wait until there is room for a batch."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches < self._lanes or self._bytes + nbytes <= self._most)
            self._batches += 1
            self._bytes += nbytes

    def remove(self, nbytes: int) -> None:
        """Make room: a batch is computed, or cancelled."""
        with self._changed:
            self._batches -= 1
            self._bytes -= nbytes
            self._changed.notify_all()
