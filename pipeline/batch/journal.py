"""The journal of a batch run: which outputs were written for which input and with which parameters, so it can resume.

    journal/<run>.jsonl   one JSON object per line, appended and fsynced; one file (or several parts) per run

A line that is not exactly what `JournalEntry.to_json` writes is ignored and counted: one cut off by a crash, or changed
(another type, a missing or unknown field, a number out of range, a name that leads out of the storage). Journals of
earlier versions have no `run`, `line`, `state` and `category`.

The last entry of an id counts: of the run with the highest number, and in it of the highest line. Clocks decide
nothing, except among entries without a number; those are older than all others.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ...weights.addresses import hide_credentials
from ..files import hash_file
from .failures import CATEGORIES
from .journal_fields import (
    MAX_ITEMS,
    MAX_TIME,
    integer_between,
    mapping_of,
    read_duration,
    read_fact,
    read_fields,
    read_hash,
    read_name,
    read_number,
    read_path,
    read_text,
    read_texts,
)
from .storage import JOURNAL_FOLDER, MAX_LINE_BYTES, Log, OutputFingerprint, Storage, unique_name

MAX_RUN = 1_000_000_000  # of the numbers of runs, and of the lines of a run
_PART = re.compile(r"(-\d{6})?\.jsonl$")  # of a run's file, see `remote_storage`

Status = Literal["started", "failed", "done"]
_RANKS = {status: rank for rank, status in enumerate(get_args(Status))}
_Order = tuple[int, float, int, str]


@dataclass(frozen=True, slots=True)  # a journal may have a million entries
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


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """State of one input.

    Attributes:
        id: of the input.
        status: of its outputs.
        input: the file that they were made of.
        parameters: output -> hash of everything that determines its content.
        outputs: output -> the file that was written.
        cause: of a failure.
        warnings: of decoding.
        media: facts of the input.
        seconds: from the start of decoding to the last output.
        time: of the entry, seconds since 1970, by the clock of the machine. It decides nothing where `run` is known.
        run: number of the run, one more than the highest that its journal had; 0 where none was recorded.
        line: of the run, counted from 1.
        category: of the cause, see `failures`; empty where there is none, or an earlier version wrote the entry.
    """

    id: str
    status: Status
    input: InputFingerprint
    parameters: Mapping[str, str]
    outputs: Mapping[str, OutputFingerprint] = field(default_factory=dict)
    cause: str = ""
    warnings: Sequence[str] = ()
    media: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    time: float = 0.0
    run: int = 0
    line: int = 0
    category: str = ""

    def to_json(self) -> bytes:
        """Return the line, with its end."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes | str) -> JournalEntry:
        """Parse a line.

        Args:
            line: without its end.

        Returns:
            The entry.

        Raises:
            ValueError: the line is not an entry; the message is not for users.
        """
        if len(line) > MAX_LINE_BYTES:
            raise ValueError("too long")
        try:
            values = json.loads(line.decode() if isinstance(line, bytes) else line)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return cls(**read_fields(values, _ENTRY, _OPTIONAL))


class Journal:
    """All journal files of a storage, merged, and a new one for this run. Raises OutputError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._log: Log | None = None
        self._line = 0
        self.name = unique_name()  # of this run's files, without suffix
        self.unreadable = 0  # lines
        self.entries = _merge(self._read())
        highest = max((entry.run for entry in self.entries.values()), default=0)
        self._run = min(highest + 1, MAX_RUN - 1)

    def append(self, *entries: JournalEntry) -> None:
        """Append entries and fsync them."""
        if self._log is None:
            self._log = self._storage.log(f"{JOURNAL_FOLDER}/{self.name}")
        numbered = [
            replace(
                entry,
                cause=hide_credentials(entry.cause),
                warnings=tuple(map(hide_credentials, entry.warnings[:MAX_ITEMS])),
                time=time.time(),
                run=self._run,
                line=self._line + place,
            )
            for place, entry in enumerate(entries, 1)
        ]
        self._line += len(numbered)
        # A start must be on disk before the output is; a lost "done" only repeats work.
        immediately = any(entry.status == "started" for entry in numbered)
        self._log.append(b"".join(entry.to_json() for entry in numbered), immediately=immediately)
        self.entries.update((entry.id, entry) for entry in numbered)

    def close(self) -> None:
        """Close this run's file."""
        if self._log is not None:
            log, self._log = self._log, None
            log.close()

    def _read(self) -> Iterator[tuple[str, JournalEntry]]:
        """Yield the name of a run's files and an entry, of all files."""
        for name in self._storage.names(JOURNAL_FOLDER, ".jsonl"):
            for line in self._storage.lines(name):
                if line:
                    try:
                        entry = JournalEntry.from_json(line)
                    except ValueError:
                        self.unreadable += 1
                    else:
                        yield _PART.sub("", name), entry


def has_journal(storage: Storage) -> bool:
    """Return whether a run has written a journal here. Raises OutputError."""
    return bool(storage.names(JOURNAL_FOLDER, ".jsonl"))


def log_files(storage: Storage, log: str) -> list[str]:
    """Return the files of one run's log, in order.

    Args:
        storage: of the run.
        log: `Journal.name` of the run.

    Raises:
        OutputError: the folder cannot be listed.
    """
    names = storage.names(JOURNAL_FOLDER, ".jsonl")
    return [name for name in names if _PART.sub("", name) == f"{JOURNAL_FOLDER}/{log}"]


def _merge(entries: Iterator[tuple[str, JournalEntry]]) -> dict[str, JournalEntry]:
    """Return the last entry of each id.

    Runs at the same time (on storages without locks) may have the same number: then the last entry of each run counts,
    a result more than a start, and "done" more than "failed"; what is left is decided by line and name.
    """
    last_of_run: dict[tuple[str, str], JournalEntry] = {}
    last: dict[str, tuple[_Order, JournalEntry]] = {}
    for name, entry in entries:
        if entry.run:
            earlier = last_of_run.get((entry.id, name))
            if earlier is None or (earlier.run, earlier.line) <= (entry.run, entry.line):
                last_of_run[entry.id, name] = entry
        else:
            _keep_last(last, (0, entry.time, 0, ""), entry)
    for (_, name), entry in last_of_run.items():
        _keep_last(last, (entry.run, _RANKS[entry.status], entry.line, name), entry)
    return {name: entry for name, (_, entry) in last.items()}


def _keep_last(last: dict[str, tuple[_Order, JournalEntry]], order: _Order, entry: JournalEntry) -> None:
    known = last.get(entry.id)
    if known is None or known[0] <= order:
        last[entry.id] = order, entry


def hash_values(values: Mapping[str, Any]) -> str:
    """Return the sha256 of JSON values, independent of their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _status(value: Any) -> str:
    if read_text(value) not in get_args(Status):
        raise ValueError("not a status")
    return value


def _category(value: Any) -> str:
    if read_text(value) not in CATEGORIES and value:
        raise ValueError("not a category")
    return value


def _input(values: Any) -> InputFingerprint:
    return InputFingerprint(**read_fields(values, _INPUT))


def _output(values: Any) -> OutputFingerprint:
    return OutputFingerprint(**read_fields(values, _OUTPUT, _OPTIONAL))


# -1 is the size and time of a file that could not be looked at.
_INPUT = {
    "path": read_path,
    "size": integer_between(-1),
    "mtime_ns": integer_between(-MAX_TIME, MAX_TIME),
    "sha256": read_hash,
}
_OUTPUT = {
    "path": read_name,
    "size": integer_between(0),
    "mtime_ns": integer_between(-MAX_TIME, MAX_TIME),
    "sha256": read_hash,
    "state": read_text,
}
_ENTRY: Mapping[str, Callable[[Any], Any]] = {
    "id": read_name,
    "status": _status,
    "input": _input,
    "parameters": mapping_of(read_text),
    "outputs": mapping_of(_output),
    "cause": read_text,
    "warnings": read_texts,
    "media": mapping_of(read_fact),
    "seconds": read_duration,
    "time": read_number,
    "run": integer_between(0, MAX_RUN - 1),
    "line": integer_between(0, MAX_RUN - 1),
    "category": _category,
}
_OPTIONAL = frozenset({"state", "run", "line", "category"})
