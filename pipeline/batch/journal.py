"""The journal of a batch run: what has been made of which input, with what, so that a run can be continued.

    journal/<run>.jsonl   one JSON object a line, appended and fsynced; one file (or several parts) for each run

A line that was being written when the machine failed is left out of account; so is everything else that is no record.
The last record of an id counts.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..files import hash_file
from .storage import Log, OutputFingerprint, Storage, unique_name

JOURNAL_FOLDER = "journal"


@dataclass(frozen=True)
class InputFingerprint:
    """What tells one state of an input file from another. `sha256` is empty unless it was asked for."""

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, path: Path, *, content: bool = False) -> InputFingerprint:
        """Raises OSError for what is not there."""
        status = path.stat()
        content = content and stat.S_ISREG(status.st_mode)  # a pipe would be waited for, for ever
        return cls(str(path.resolve()), status.st_size, status.st_mtime_ns, hash_file(path) if content else "")

    def same(self, other: InputFingerprint) -> bool:
        """By content where both know it, wherever the file is; else by place, size and time."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return (self.path, self.size, self.mtime_ns) == (other.path, other.size, other.mtime_ns)


@dataclass(frozen=True)
class JournalEntry:
    """What became of one input. status: "started", "done" or "failed"."""

    id: str
    status: str
    input: InputFingerprint
    parameters: Mapping[str, str]  # output -> hash of everything that it was made with
    outputs: Mapping[str, OutputFingerprint] = field(default_factory=dict)
    cause: str = ""
    warnings: Sequence[str] = ()
    media: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # from the start of decoding to the last output
    time: float = 0.0  # of the record, seconds since 1970

    @classmethod
    def from_json(cls, line: str) -> JournalEntry:
        """Raises ValueError, TypeError or KeyError for what is no record."""
        values = json.loads(line)
        values["input"] = InputFingerprint(**values["input"])
        values["outputs"] = {name: OutputFingerprint(**output) for name, output in values["outputs"].items()}
        return cls(**values)


class Journal:
    """The journals of a batch run's results, open for reading and for one run's records. Raises OutputError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._log: Log | None = None
        self.records: dict[str, JournalEntry] = {}
        self.unreadable = 0  # lines
        for record in sorted(self._read(), key=lambda record: record.time):
            self.records[record.id] = record

    def append(self, *records: JournalEntry) -> None:
        """Write records through to where they are kept."""
        if self._log is None:
            self._log = self._storage.log(f"{JOURNAL_FOLDER}/{unique_name()}")
        dated = [JournalEntry(**{**vars(record), "time": time.time()}) for record in records]
        lines = b"".join(json.dumps(asdict(record)).encode() + b"\n" for record in dated)
        # That a file was begun must be known before it is there; that it is done may be found out again.
        self._log.append(lines, at_once=any(record.status == "started" for record in dated))
        self.records.update((record.id, record) for record in dated)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _read(self) -> list[JournalEntry]:
        records = []
        for name in self._storage.names(JOURNAL_FOLDER, ".jsonl"):
            for line in (self._storage.read(name) or b"").decode(errors="replace").split("\n"):
                try:
                    if line:
                        records.append(JournalEntry.from_json(line))
                except (ValueError, TypeError, KeyError, AttributeError):
                    self.unreadable += 1
        return records


def hash_values(values: Mapping[str, Any]) -> str:
    """sha256 of plain values, the same whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
