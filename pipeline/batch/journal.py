"""The journal of a batch run: which outputs were written for which input and with which parameters, so it can resume.

    journal/<run>.jsonl   one JSON object per line, appended and fsynced; one file (or several parts) per run

Lines that are not entries, such as one cut off by a crash, are ignored and counted. The last entry of an id counts.
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
    """Identity of one state of an input file; `sha256` is empty unless content hashing is on."""

    path: str
    size: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, path: Path, *, content: bool = False) -> InputFingerprint:
        """Return the fingerprint of a file, with its sha256 if `content`. Raises OSError for a missing file."""
        status = path.stat()
        content = content and stat.S_ISREG(status.st_mode)  # reading a pipe could block forever
        return cls(str(path.resolve()), status.st_size, status.st_mtime_ns, hash_file(path) if content else "")

    def same(self, other: InputFingerprint) -> bool:
        """Compare by content where both have a hash, wherever the files are; else by path, size and time."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return (self.path, self.size, self.mtime_ns) == (other.path, other.size, other.mtime_ns)


@dataclass(frozen=True)
class JournalEntry:
    """State of one input: `status` is "started", "done" or "failed"."""

    id: str
    status: str
    input: InputFingerprint
    parameters: Mapping[str, str]  # output -> hash of everything that determines its content
    outputs: Mapping[str, OutputFingerprint] = field(default_factory=dict)
    cause: str = ""
    warnings: Sequence[str] = ()
    media: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # from the start of decoding to the last output
    time: float = 0.0  # of the entry, seconds since 1970

    @classmethod
    def from_json(cls, line: str) -> JournalEntry:
        """Parse a line. Raises ValueError, TypeError or KeyError for a line that is not an entry."""
        values = json.loads(line)
        values["input"] = InputFingerprint(**values["input"])
        values["outputs"] = {name: OutputFingerprint(**output) for name, output in values["outputs"].items()}
        return cls(**values)


class Journal:
    """All journal files of a storage, merged, and a new one for this run. Raises OutputError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._log: Log | None = None
        self.entries: dict[str, JournalEntry] = {}
        self.unreadable = 0  # lines
        for entry in sorted(self._read(), key=lambda entry: entry.time):
            self.entries[entry.id] = entry

    def append(self, *entries: JournalEntry) -> None:
        """Append entries and fsync them."""
        if self._log is None:
            self._log = self._storage.log(f"{JOURNAL_FOLDER}/{unique_name()}")
        dated = [JournalEntry(**{**vars(entry), "time": time.time()}) for entry in entries]
        lines = b"".join(json.dumps(asdict(entry)).encode() + b"\n" for entry in dated)
        # A start must be on disk before the output is; a lost "done" only repeats work.
        self._log.append(lines, immediately=any(entry.status == "started" for entry in dated))
        self.entries.update((entry.id, entry) for entry in dated)

    def close(self) -> None:
        """Close this run's file."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _read(self) -> list[JournalEntry]:
        entries = []
        for name in self._storage.names(JOURNAL_FOLDER, ".jsonl"):
            for line in (self._storage.read(name) or b"").decode(errors="replace").split("\n"):
                try:
                    if line:
                        entries.append(JournalEntry.from_json(line))
                except (ValueError, TypeError, KeyError, AttributeError):
                    self.unreadable += 1
        return entries


def hash_values(values: Mapping[str, Any]) -> str:
    """Return the sha256 of JSON values, independent of their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
