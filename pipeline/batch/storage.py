"""Interface of the places where a batch run keeps its outputs, journal and list of failures."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OutputFingerprint:
    """Identity of a written file.

    Attributes:
        path: relative to the storage.
        size: bytes.
        mtime_ns: time of the last change; 0 where the storage reports none.
        sha256: of the content.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str


class Storage(ABC):
    """Files by relative name; each is complete or absent. Methods raise OutputError where the system refuses.

    Attributes:
        where: folder or address, for messages.
        journal_batch: lines of a log that are best written together.
    """

    def __init__(self, where: str, *, journal_batch: int) -> None:
        self.where = where
        self.journal_batch = journal_batch

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where the file is absent."""

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
    def intact(self, output: OutputFingerprint, *, verify: bool = False) -> bool:
        """Return whether a file is as it was written. Its content is read if its time has changed, or to verify."""

    @abstractmethod
    def log(self, name: str) -> Log:
        """Create a log; `name` without suffix."""

    @abstractmethod
    def cached_listing(self) -> contextlib.AbstractContextManager[None]:
        """Within the context, answer `exists` and `intact` from one listing: nothing else changes the files."""

    @abstractmethod
    def exclusive_lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other runs out, where the storage has locks. Raises SetupError where another run holds the lock."""

    @abstractmethod
    def clear(self, folders: Iterable[str]) -> None:
        """Remove the temporary files that a killed run left in these folders."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a file."""
        self.store(name, lambda path: path.write_bytes(content))


class Log(ABC):
    """Lines that survive a crash once they are written."""

    @abstractmethod
    def append(self, lines: bytes, *, immediately: bool) -> None:
        """Append complete lines. Unless `immediately`, they may be written some seconds later."""

    @abstractmethod
    def close(self) -> None:
        """Write everything that is still buffered."""


def unique_name() -> str:
    """Return a name for a run's files: unique, and sorted by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
