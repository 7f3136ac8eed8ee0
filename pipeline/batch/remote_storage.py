"""Storage of a batch run on any fsspec filesystem: s3://, gs://, az://, sftp://, ..."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from ..errors import OutputError, SetupError
from ..files import hash_file
from ..text import escape
from .storage import Log, OutputFingerprint, Storage

_FLUSH_AFTER = 5.0  # seconds after which buffered lines of a log are written


class RemoteStorage(Storage):
    """Storage on any fsspec filesystem. Files are written locally and uploaded as a whole.

    There is no lock and there are no temporary files: two runs at the same time repeat each other's work, into the
    same files.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address.rstrip("/"), journal_batch=64)
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.where)
        except Exception as error:  # unknown protocol, missing package, no answer, ...
            raise SetupError(f"{escape(address)}: {escape(error)}") from error
        self._listing: dict[str, Any] | None = None

    def read(self, name: str) -> bytes | None:
        with self._refused(name, "read"):
            try:
                return self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None

    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        with tempfile.TemporaryDirectory(prefix="avvp-send-") as folder:
            path = Path(folder) / "file"
            write(path)
            digest, size = hash_file(path), path.stat().st_size
            with self._refused(name, "written"):
                self._files.makedirs(str(PurePosixPath(self._path(name)).parent), exist_ok=True)
                self._files.put_file(str(path), self._path(name))
                self._files.invalidate_cache()
                info = self._files.info(self._path(name))
        if info["size"] != size:
            raise OutputError(f"{escape(self._path(name))}: {info['size']} bytes arrived of {size}")
        return OutputFingerprint(name, size, _modified_ns(info), digest)

    def remove(self, name: str) -> None:
        with self._refused(name, "removed"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names(self, folder: str, suffix: str) -> list[str]:
        with self._refused(folder, "listed"):
            try:
                paths = self._files.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
        names = (PurePosixPath(path).name for path in paths if path.endswith(suffix))
        return sorted(str(PurePosixPath(folder) / name) for name in names)

    def exists(self, name: str) -> bool:
        return self._info(name) is not None

    def intact(self, output: OutputFingerprint, *, verify: bool = False) -> bool:
        info = self._info(output.path)
        if info is None or info["size"] != output.size:
            return False
        if _modified_ns(info) == output.mtime_ns and not verify:
            return True
        with tempfile.TemporaryDirectory(prefix="avvp-check-") as folder, self._refused(output.path, "read"):
            self._files.get_file(self._path(output.path), str(Path(folder) / "file"))
            return hash_file(Path(folder) / "file") == output.sha256

    def log(self, name: str) -> Log:
        return _RemoteLog(self, name)

    @contextlib.contextmanager
    def cached_listing(self) -> Iterator[None]:
        with self._refused("", "listed"):
            self._files.invalidate_cache()
            try:
                self._listing = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                self._listing = {}
        try:
            yield
        finally:
            self._listing = None

    def exclusive_lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def clear(self, folders: Iterable[str]) -> None:
        pass

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _info(self, name: str) -> dict[str, Any] | None:
        if self._listing is not None:
            return self._listing.get(self._path(name))
        with self._refused(name, "read"):
            try:
                return self._files.info(self._path(name))
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def _refused(self, name: str, what: str) -> Iterator[None]:
        """Turn any error into an OutputError: every protocol raises errors of its own."""
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise OutputError(f"{escape(f'{self.where}/{name}')}: cannot be {what}: {escape(reason)}") from error


class _RemoteLog(Log):
    """A log in numbered parts: urgent lines are written immediately, the others together some seconds later."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage, self._name = storage, name
        self._number, self._unsaved = 0, b""
        self._lock = threading.Lock()
        self._later: threading.Timer | None = None
        self._failure: OutputError | None = None

    def append(self, lines: bytes, *, immediately: bool) -> None:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._unsaved += lines
            if immediately:
                self._flush()
            elif self._later is None:
                self._later = threading.Timer(_FLUSH_AFTER, self._flush_later)
                self._later.daemon = True
                self._later.start()

    def close(self) -> None:
        with self._lock:
            self._flush()
        if self._failure is not None:
            raise self._failure

    def _flush_later(self) -> None:
        with self._lock:
            try:
                self._flush()
            except OutputError as error:  # the next `append` raises it
                self._failure = error

    def _flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._unsaved:
            self._storage.write(f"{self._name}-{self._number:06}.jsonl", self._unsaved)
            self._number, self._unsaved = self._number + 1, b""


def _modified_ns(info: dict[str, Any]) -> int:
    """Return the time of the last change in ns; 0 where the filesystem reports none."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, int | float):
            return int(value * 1e9)
    return 0
