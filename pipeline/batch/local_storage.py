"""Storage of a batch run in a local folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import OutputError
from ..files import PART_PREFIX, exclusive_lock, hash_file, list_files, make_folder, replacing
from ..text import escape
from .storage import Log, OutputFingerprint, Storage


class LocalStorage(Storage):
    """A folder. Every file is written to a temporary file beside it, fsynced and renamed."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), journal_batch=1)
        self.root = root

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{escape(self.root / name)}: cannot be read: {error.strerror or error}") from error

    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        path = self.root / name
        make_folder(path.parent)
        with replacing(path) as temporary:
            write(temporary)
            digest = hash_file(temporary)
        status = path.stat()
        return OutputFingerprint(name, status.st_size, status.st_mtime_ns, digest)

    def remove(self, name: str) -> None:
        if self.exists(name):
            with refusals_as_output_error(self.root / name, "removed"):
                (self.root / name).unlink(missing_ok=True)

    def names(self, folder: str, suffix: str) -> list[str]:
        path = self.root / folder
        with refusals_as_output_error(path, "listed"):
            files = list_files(path) if path.exists() else []
        return sorted(file.relative_to(self.root).as_posix() for file in files if file.name.endswith(suffix))

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.root / name)  # False, too, for names that the system rejects

    def clear(self, folders: Iterable[str]) -> None:
        for folder in folders:
            for temporary in (self.root / folder).glob(f"{PART_PREFIX}*.part"):
                with refusals_as_output_error(temporary, "removed"):
                    temporary.unlink(missing_ok=True)

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

    def cached_listing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def exclusive_lock(self) -> contextlib.AbstractContextManager[None]:
        return exclusive_lock(self.root)


class _LocalLog(Log):
    def __init__(self, path: Path) -> None:
        self._path = path
        with refusals_as_output_error(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)

    def append(self, lines: bytes, *, immediately: bool) -> None:  # noqa: ARG002 - always
        with refusals_as_output_error(self._path, "written"):
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


@contextlib.contextmanager
def refusals_as_output_error(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError within the context into an OutputError: "PATH: cannot be WHAT: reason"."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be {what}: {error.strerror or error}") from error
