"""Time limits of a download: in total, and a minimum rate."""

from __future__ import annotations

import time

TIMEOUT = 30  # seconds to connect, and between two reads
MAX_SECONDS = 6 * 3600  # of one download
MIN_RATE = 10 << 10  # bytes per second, on average over `RATE_WINDOW`
RATE_WINDOW = 60  # seconds


class TransferError(Exception):
    """Failure of one address; the next one is tried. The message does not name the address."""


class RefusedError(TransferError):
    """The server answers with a status that is no success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answers with status {status}")
        self.status = status


class TooLargeError(TransferError):
    """More arrives than the file can have; what has arrived is removed."""


class Pace:
    """Clock of one download."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + MAX_SECONDS
        self._begin_window()

    def add(self, count: int) -> None:
        """Count bytes that have arrived."""
        self._count += count

    @property
    def remaining(self) -> float:
        """Seconds until `check` is due, at least 0."""
        return max(0.0, min(self._deadline, self._window_end) - time.monotonic())

    def check(self) -> None:
        """Check the limits. Raises TransferError if the download takes too long or is too slow."""
        now = time.monotonic()
        if now >= self._deadline:
            raise TransferError(f"not complete after {MAX_SECONDS} seconds; run the command again to resume")
        if now >= self._window_end:
            if self._count < MIN_RATE * RATE_WINDOW:
                raise TransferError(
                    f"too slow: {self._count} bytes in {RATE_WINDOW} seconds; run the command again to resume"
                )
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_end = time.monotonic() + RATE_WINDOW
        self._count = 0
