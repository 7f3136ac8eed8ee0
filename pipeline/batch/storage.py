"""Where a batch run's results go: a folder of this machine, or one behind an fsspec address (s3://, gs://, ...)."""

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
    """A file that was made; path relative to the storage. mtime_ns: 0 where the storage does not tell."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class Storage(ABC):
    """Files by relative name, each whole or not there. What the system refuses is an OutputError."""

    def __init__(self, where: str, *, at_once: int) -> None:
        self.where = where
        self.at_once = at_once  # lines of a log that had better be written together

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""

    @abstractmethod
    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        """Make or replace a file of what `write` writes into an empty file on this machine."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """A file that is not there is no error."""

    @abstractmethod
    def names(self, folder: str, suffix: str) -> list[str]:
        """Files in a folder ("" is the storage itself), sorted."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def intact(self, output: OutputFingerprint, *, verify: bool = False) -> bool:
        """Whether a file is there as it was made. Its content is read only if its time has changed, or to verify."""

    @abstractmethod
    def log(self, name: str) -> Log:
        """A new log; `name` without its suffix."""

    @abstractmethod
    def cached_listing(self) -> contextlib.AbstractContextManager[None]:
        """While this lasts, nothing else is at work here: many questions may be answered from one listing."""

    @abstractmethod
    def exclusive_lock(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other runs out, where that is possible. Raises SetupError where one is at work already."""

    @abstractmethod
    def clear(self, folders: Iterable[str]) -> None:
        """Remove what a killed run left half-written in these folders."""

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file."""
        self.store(name, lambda path: path.write_bytes(content))


class Log(ABC):
    """Lines that are kept whatever happens afterwards."""

    @abstractmethod
    def append(self, lines: bytes, *, at_once: bool) -> None:
        """Whole lines. Those that need not be kept `at_once` may be written some seconds later."""

    @abstractmethod
    def close(self) -> None:
        """Afterwards everything is kept."""


def unique_name() -> str:
    """Of a run: sorts by its time, and no two are alike."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
