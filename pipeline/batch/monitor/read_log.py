"""Read the log of a run while it is written: each line once, in memory that does not grow with the log."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ..failures import CATEGORIES, UNKNOWN
from ..journal import JournalEntry, log_files
from ..storage import Storage

# A line as `JournalEntry.to_json` writes it; others are parsed as a whole, which takes ten times as long.
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_HEAD = re.compile(
    rb'\{"id": (%b), "status": "(started|failed|done)", "input": \{"path": %b, "size": (-?\d+), ' % (_TEXT, _TEXT)
)
_TAIL = re.compile(rb'"time": (\d+(?:\.\d+)?), "run": \d+, "line": \d+, "category": "([a-z-]*)"\}$')
_DURATION = re.compile(rb'"duration": (\d+(?:\.\d+)?)[,}]')  # a quote within a text would have a backslash before it
_TAIL_BYTES = 300


@dataclass
class LogTotals:
    """What the log of one run says so far.

    Attributes:
        done: inputs that were computed.
        failures: category -> inputs that failed.
        in_progress: ids, as JSON, that were started and have no result.
        media_seconds: length of what was computed.
        input_bytes: of the files with a result.
        last: time of the last line, seconds since 1970; 0 before there is one.
        recent: (time, seconds of media) of the last results.
        unreadable: lines that are no entries.
    """

    done: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    in_progress: set[bytes] = field(default_factory=set)
    media_seconds: float = 0.0
    input_bytes: int = 0
    last: float = 0.0
    recent: deque[tuple[float, float]] = field(default_factory=deque)
    unreadable: int = 0

    @property
    def results(self) -> int:
        """Number of inputs with a result."""
        return self.done + self.failures.total()


class LogReader:
    """Reads the log of one run, on each call what was written since the last one.

    Args:
        storage: of the run.
        log: its name, without number and suffix.
        window: seconds of results to keep in `LogTotals.recent`.
    """

    def __init__(self, storage: Storage, log: str, window: float) -> None:
        self.totals = LogTotals()
        self._storage, self._log, self._window = storage, log, window
        self._read: dict[str, int] = {}  # file -> position

    def update(self) -> LogTotals:
        """Read on, and return the totals. Raises OutputError."""
        for name in log_files(self._storage, self._log):
            for position, line in self._storage.complete_lines(name, self._read.get(name, 0)):
                self._read[name] = position
                if line:
                    self._add(line)
        return self.totals

    def _add(self, text: bytes) -> None:
        try:
            line = _scan(text) or _parse(text)
        except ValueError:
            self.totals.unreadable += 1
            return
        totals = self.totals
        totals.last = max(totals.last, line.time)
        if line.status == "started":
            totals.in_progress.add(line.id)
        elif line.id in totals.in_progress:  # entries of unusable and of moved inputs have no start
            totals.in_progress.remove(line.id)
            totals.media_seconds += line.media_seconds
            totals.input_bytes += max(0, line.input_bytes)
            if line.status == "done":
                totals.done += 1
            else:
                totals.failures[line.category or UNKNOWN] += 1
            totals.recent.append((line.time, line.media_seconds))
            while totals.recent and totals.recent[0][0] < totals.last - self._window:
                totals.recent.popleft()


class _Line(NamedTuple):
    id: bytes  # as JSON
    status: str
    time: float
    category: str
    input_bytes: int
    media_seconds: float


def _scan(text: bytes) -> _Line | None:
    """Find the values of a line that has the form in which they are written, None for other lines."""
    head, tail = _HEAD.match(text), _TAIL.search(text, max(0, len(text) - _TAIL_BYTES))
    if head is None or tail is None:
        return None
    category = tail[2].decode()
    if category and category not in CATEGORIES:
        return None
    duration = _DURATION.search(text, text.rfind(b'"media": {')) if head[2] == b"done" else None
    media_seconds = float(duration[1]) if duration else 0.0
    return _Line(head[1], head[2].decode(), float(tail[1]), category, int(head[3]), media_seconds)


def _parse(text: bytes) -> _Line:
    """Parse a line. Raises ValueError if it is no entry."""
    entry = JournalEntry.from_json(text)
    duration = entry.media.get("duration")
    media_seconds = float(duration) if isinstance(duration, int | float) else 0.0
    name = json.dumps(entry.id).encode()
    return _Line(name, entry.status, entry.time, entry.category, entry.input.size, media_seconds)
