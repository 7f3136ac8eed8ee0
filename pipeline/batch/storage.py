"""Where a batch run's results go: a folder of this machine, or one behind an fsspec address (s3://, gs://, ...)."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError, SetupError
from ..files import PART_PREFIX, alone, hash_file, replacing
from ..text import printable


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
    def listed(self) -> contextlib.AbstractContextManager[None]:
        """While this lasts, nothing else is at work here: many questions may be answered from one listing."""

    @abstractmethod
    def alone(self) -> contextlib.AbstractContextManager[None]:
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


def open_storage(location: str | Path) -> Storage:
    """A folder, made where there is none, or an address such as s3://bucket/folder. Raises SetupError, OutputError."""
    if "://" in str(location):
        from .remote_storage import RemoteStorage

        return RemoteStorage(str(location))
    root = Path(location)
    if root.exists() and not root.is_dir():
        raise SetupError(f"{printable(root)}: is not a folder")
    with _told(root, "made"):
        root.mkdir(parents=True, exist_ok=True)
    return LocalStorage(root)


class LocalStorage(Storage):
    """A folder. Every file is written beside its place, fsynced and renamed."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), at_once=1)
        self.root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{printable(self.root / name)}: cannot be read: {error.strerror or error}") from error

    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        path = self.root / name
        with _told(path.parent, "made"):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            write(temporary)
            digest = hash_file(temporary)
        status = path.stat()
        return OutputFingerprint(name, status.st_size, status.st_mtime_ns, digest)

    def remove(self, name: str) -> None:
        if self.exists(name):
            with _told(self.root / name, "removed"):
                (self.root / name).unlink(missing_ok=True)

    def names(self, folder: str, suffix: str) -> list[str]:
        place = self.root / folder
        with _told(place, "listed"):
            entries = list(place.iterdir()) if place.exists() else []
        return sorted(entry.relative_to(self.root).as_posix() for entry in entries if entry.name.endswith(suffix))

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.root / name)  # False, too, for names that the system refuses

    def clear(self, folders: Iterable[str]) -> None:
        for folder in folders:
            for left in (self.root / folder).glob(f"{PART_PREFIX}*.part"):
                with _told(left, "removed"):
                    left.unlink(missing_ok=True)

    def intact(self, output: OutputFingerprint, *, verify: bool = False) -> bool:
        path = self.root / output.path
        try:
            status = path.stat()
            if status.st_size != output.size:
                return False
            return (status.st_mtime_ns == output.mtime_ns and not verify) or hash_file(path) == output.sha256
        except OSError:
            return False

    def log(self, name: str) -> Log:
        return _LocalLog(self.root / f"{name}.jsonl")

    def listed(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return alone(self.root)


class _LocalLog(Log):
    def __init__(self, path: Path) -> None:
        self._path = path
        with _told(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)

    def append(self, lines: bytes, *, at_once: bool) -> None:  # noqa: ARG002 - always
        with _told(self._path, "written"):
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


@contextlib.contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """What the system refuses, as an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{printable(path)}: cannot be {what}: {error.strerror or error}") from error


def unique_name() -> str:
    """Of a run: sorts by its time, and no two are alike."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(4)}"
