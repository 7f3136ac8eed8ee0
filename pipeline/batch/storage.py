"""Interface of the places where a batch run keeps its outputs, journal and list of failures."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

JOURNAL_FOLDER = "journal"
MAX_READ_BYTES = 256 << 20  # of a file that is read as a whole, unless its size is known
MAX_LINE_BYTES = 1 << 20  # of a line of a log; more of it is not read
MAX_LOG_BYTES = 4 << 30  # of one file of a log
MAX_SHARDS = 100_000  # parts of a run
MAX_NAME_BYTES = 4096  # of a name in a storage, as Linux limits paths


@dataclass(frozen=True, slots=True)  # a journal may have millions
class OutputFingerprint:
    """Identity of a written file.

    Attributes:
        path: relative to the storage.
        size: bytes.
        mtime_ns: time of the last change; 0 where the storage reports none.
        sha256: of the content.
        state: changes whenever the storage changes the file: inode and time of its status, or an ETag; empty where
            the storage has nothing of this kind. Content is read again unless state and time are the same.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    state: str = ""


@dataclass(frozen=True)
class Shard:
    """One of several parts of the inputs of a run, each for a process of its own.

    An input belongs to the part that the hash of its id names: the same on every machine, whatever other inputs there
    are.

    Attributes:
        number: of the part, from 1 to `count`.
        count: of the parts.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"no shard {self}: the first is 1/{self.count}, the last {self.count}/{self.count}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def tag(self) -> str:
        """The part in names of files: "3-of-16"."""
        return f"{self.number}-of-{self.count}"

    def holds(self, name: str) -> bool:
        """Return whether the input with this id belongs to the part."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


class Storage(ABC):
    """Files by relative name; each is complete or absent.

    Methods raise OutputError where the system refuses, and for names that lead out of the storage.

    Attributes:
        where: folder or address, for messages: without credentials.
        address: the same, to open the storage with.
        journal_batch: lines of a log that are best written together.
    """

    def __init__(self, address: str, where: str, *, journal_batch: int) -> None:
        self.address = address
        self.where = where
        self.journal_batch = journal_batch

    @abstractmethod
    def read(self, name: str, *, limit: int = MAX_READ_BYTES) -> bytes | None:
        """Return a file's content, of at most `limit` bytes; None where the file is absent."""

    @abstractmethod
    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        """Create or replace a file; `write` fills an empty local file."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file if it exists."""

    @abstractmethod
    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the files in a folder ("" is the storage itself) with a suffix, sorted."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a file exists."""

    @abstractmethod
    def check(self, output: OutputFingerprint, *, verify: bool = False) -> OutputFingerprint | None:
        """Return the fingerprint of a file that still has the content that was written, None if it has another one.

        The content is read unless size, time and state are those of the fingerprint; with `verify`, always.
        """

    @abstractmethod
    def log(self, name: str) -> Log:
        """Create a log; `name` without suffix."""

    @abstractmethod
    def cached_listing(self) -> contextlib.AbstractContextManager[None]:
        """Within the context, answer `exists` and `check` from one listing: nothing else changes the files."""

    @abstractmethod
    def exclusive_lock(self, shard: Shard | None = None) -> contextlib.AbstractContextManager[None]:
        """Keep other runs out, where the storage has locks; with a shard, those that may work on the same inputs.

        Raises SetupError where another run holds the lock.
        """

    @abstractmethod
    def list_lock(self) -> contextlib.AbstractContextManager[None]:
        """Wait until no other shard changes a file that all of them change, where the storage has locks."""

    @abstractmethod
    def complete_lines(self, name: str, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of a log that end with a newline, each after the position behind it.

        Args:
            name: of the log, which a run may be writing.
            start: position in bytes, at the beginning of a line.
        """

    @abstractmethod
    def check_lasting(self) -> None:
        """Raise SetupError where files cannot be written and removed, or do not outlive this process."""

    @abstractmethod
    def check_writable(self) -> None:
        """Write a file and remove it. Raises SetupError or OutputError where that fails."""

    @abstractmethod
    def clear(self, folders: Iterable[str]) -> None:
        """Remove the temporary files that a killed run left in these folders."""

    def intact(self, output: OutputFingerprint, *, verify: bool = False) -> bool:
        """Return whether a file has the content that was written, see `check`."""
        return self.check(output, verify=verify) is not None

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a file."""
        self.store(name, lambda path: path.write_bytes(content))

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a log without their ends, of a line that is too long its beginning."""
        yield from (self.read(name) or b"").split(b"\n")


class Log(ABC):
    """Lines that survive a crash once they are written."""

    @abstractmethod
    def append(self, lines: bytes, *, immediately: bool) -> None:
        """Append complete lines. Unless `immediately`, they may be written some seconds later."""

    @abstractmethod
    def close(self) -> None:
        """Write everything that is still buffered."""


def is_name(name: str) -> bool:
    """Return whether a text can be the name of a file in a storage; links are not looked at.

    Args:
        name: with "/" between folders.

    Returns:
        False for a name that is empty, too long, absolute, has a part "..", a NUL or a surrogate that stands for no
        byte.
    """
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    parts = set(name.split("/"))
    leads_out = name.startswith("/") or ".." in parts or parts <= {"", "."}
    return not leads_out and len(encoded) <= MAX_NAME_BYTES and b"\0" not in encoded


def unique_name() -> str:
    """Return a name for a run's files: unique, and sorted by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
