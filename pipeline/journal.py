"""The journal of a batch run: what has been made of which input, with what, so that a run can be continued.

    FOLDER/journal/<run>.jsonl   one JSON object a line, appended and fsynced; one file for each run

A line that was being written when the machine failed is left out of account; so is everything else that is no record.
The last record of an id counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import OutputError, printable

JOURNAL_FOLDER = "journal"
_CHUNK = 1 << 20


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
        return cls(str(path.resolve()), status.st_size, status.st_mtime_ns, hash_file(path) if content else "")

    def same(self, other: InputFingerprint) -> bool:
        """By content where both know it, wherever the file is; else by place, size and time."""
        if self.sha256 and other.sha256:
            return self.sha256 == other.sha256
        return (self.path, self.size, self.mtime_ns) == (other.path, other.size, other.mtime_ns)


@dataclass(frozen=True)
class OutputFingerprint:
    """A file that was made; path relative to the folder."""

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, path: str) -> OutputFingerprint:
        status = (folder / path).stat()
        return cls(path, status.st_size, status.st_mtime_ns, hash_file(folder / path))

    def intact(self, folder: Path, *, verify: bool = False) -> bool:
        """Whether the file is there as it was made. Its content is read only if its time has changed, or to verify."""
        path = folder / self.path
        try:
            status = path.stat()
            if status.st_size != self.size:
                return False
            return (status.st_mtime_ns == self.mtime_ns and not verify) or hash_file(path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class Record:
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
    def from_json(cls, line: str) -> Record:
        """Raises ValueError, TypeError or KeyError for what is no record."""
        values = json.loads(line)
        values["input"] = InputFingerprint(**values["input"])
        values["outputs"] = {name: OutputFingerprint(**output) for name, output in values["outputs"].items()}
        return cls(**values)


class Journal:
    """The journals of a folder, open for reading and for one run's records. Raises OutputError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / JOURNAL_FOLDER
        self._file: int | None = None
        self.records: dict[str, Record] = {}
        self.unreadable = 0  # lines
        for record in sorted(self._read(), key=lambda record: record.time):
            self.records[record.id] = record

    def append(self, record: Record) -> None:
        """Write a record through to the disk."""
        record = Record(**{**vars(record), "time": time.time()})
        line = json.dumps(asdict(record)).encode() + b"\n"
        try:
            if self._file is None:
                self._file = self._create()
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            raise OutputError(f"{printable(self._folder)}: cannot be written: {error.strerror}") from error
        self.records[record.id] = record

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _create(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)

    def _read(self) -> list[Record]:
        records = []
        try:
            for path in sorted(self._folder.glob("*.jsonl")):
                for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                    try:
                        if line:
                            records.append(Record.from_json(line))
                    except (ValueError, TypeError, KeyError, AttributeError):
                        self.unreadable += 1
        except OSError as error:
            raise OutputError(f"{printable(self._folder)}: cannot be read: {error.strerror}") from error
        return records


def hash_file(path: Path) -> str:
    """sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_values(values: Mapping[str, Any]) -> str:
    """sha256 of plain values, the same whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
