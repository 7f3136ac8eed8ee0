"""A bounded queue between threads that can be stopped."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Generic, TypeVar

TICK = 0.2  # seconds after which a waiting thread checks whether it has to stop

Item = TypeVar("Item")


class StoppableQueue(Generic[Item]):
    """A bounded queue whose blocked readers and writers return once `stop` is set."""

    def __init__(self, size: int, stop: threading.Event) -> None:
        """Create an empty queue of at most `size` items."""
        self._queue: queue.Queue[Item] = queue.Queue(size)
        self._stop = stop

    def put(self, item: Item) -> None:
        """Add an item when there is room; drop it when stopped."""
        while not self._stop.is_set():
            if self.put_within(item, TICK):
                return

    def put_within(self, item: Item, seconds: float) -> bool:
        """Add an item if there is room within some seconds; return whether it was added."""
        with contextlib.suppress(queue.Full):
            self._queue.put(item, timeout=seconds)
            return True
        return False

    def get(self) -> Item | None:
        """Remove and return an item; None when stopped."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                return self._queue.get(timeout=TICK)
        return None

    def empty(self) -> bool:
        """Return whether nothing is queued."""
        return self._queue.empty()
