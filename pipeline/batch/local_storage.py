"""Storage of a batch run in a local folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ...weights.safe_paths import UnsafePathError, inside
from ..durable import remove_file, sync_folder
from ..errors import OutputError, SetupError
from ..files import (
    check_writable,
    exclusive_lock,
    hash_file,
    list_files,
    make_folder,
    open_regular,
    remove_parts,
    replacing,
)
from ..text import escape
from .storage import (
    JOURNAL_FOLDER,
    MAX_LINE_BYTES,
    MAX_LOG_BYTES,
    MAX_READ_BYTES,
    Log,
    OutputFingerprint,
    Shard,
    Storage,
)

_LONGEST_WAIT = 60  # seconds for another shard to write the list of failures
_COARSE = 1_000_000  # ns; times in whole milliseconds come from file systems that keep no finer ones
_LOCK = re.compile(r"shard-\d+-of-(\d+)\.lock")  # in the folder of the journal, one for each shard
_ADVICE = "give the real folder as the output, or put one in the place of the link"


class LocalStorage(Storage):
    """A folder. Every file is written to a temporary file beside it, fsynced and renamed."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), str(root), journal_batch=1)
        self.root = root
        self._owner = ""  # in the names of temporary files, of a shard
        self._checked: set[tuple[str, str]] | None = None  # folders that are inside, in `cached_listing`

    def read(self, name: str, *, limit: int = MAX_READ_BYTES) -> bytes | None:
        path = self._path(name, "read")
        with refusals_as_output_error(path, "read"):
            file = _open_existing(path)
            if file is None:
                return None
            with file:
                content = file.read(limit + 1)
        if len(content) > limit:
            raise OutputError(f"{escape(path)}: larger than {limit} bytes, the most that is read of it")
        return content

    def lines(self, name: str) -> Iterator[bytes]:
        path = self._path(name, "read")
        with refusals_as_output_error(path, "read"):
            file = _open_existing(path)
            if file is None:
                return
            with file:
                if os.fstat(file.fileno()).st_size > MAX_LOG_BYTES:
                    raise OutputError(f"{escape(path)}: larger than {MAX_LOG_BYTES >> 30} GiB; move it away")
                while line := file.readline(MAX_LINE_BYTES + 1):
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = file.readline(MAX_LINE_BYTES)
                    yield line.removesuffix(b"\n")

    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        path = self._path(name, "written")
        make_folder(path.parent)
        with replacing(path, self._owner) as temporary:
            write(temporary)
            digest = hash_file(temporary)
            now = time.time_ns()
            # Finer than the clock of the file system: a change within the same tick has another time.
            os.utime(temporary, ns=(now, now))
            written = temporary.stat()
        with refusals_as_output_error(path, "read"):
            status = path.stat()
        state = _state(status) if status.st_ino == written.st_ino else ""
        return OutputFingerprint(name, written.st_size, written.st_mtime_ns, digest, state)

    def remove(self, name: str) -> None:
        path = self._find(name, "removed")
        if path is not None and os.path.lexists(path):
            with refusals_as_output_error(path, "removed"):
                remove_file(path)

    def names(self, folder: str, suffix: str) -> list[str]:
        path = self._path(folder, "listed") if folder else self.root
        with refusals_as_output_error(path, "listed"):
            files = list_files(path) if os.path.lexists(path) else []
        return sorted(file.relative_to(self.root).as_posix() for file in files if file.name.endswith(suffix))

    def exists(self, name: str) -> bool:
        folder, slash, base = name.rpartition("/")
        if self._checked is not None and (folder, slash) in self._checked and base not in {"", ".", ".."}:
            # A plan asks this of every output: paths of pathlib would take most of its time.
            try:
                if not stat.S_ISLNK(os.lstat(f"{self.root}/{name}").st_mode):
                    return True
            except FileNotFoundError:
                return False
            except (OSError, ValueError):
                pass
        path = self._find(name, "read")
        return path is not None and os.path.lexists(path)

    def clear(self, folders: Iterable[str]) -> None:
        for folder in folders:
            path = self.root if folder in {"", "."} else self._find(folder, "read")
            if path is not None:
                remove_parts(path, self._owner)

    def check(self, output: OutputFingerprint, *, verify: bool = False) -> OutputFingerprint | None:
        path = self._find(output.path, "read")
        try:
            status = None if path is None else path.stat()
            if path is None or status is None or not stat.S_ISREG(status.st_mode) or status.st_size != output.size:
                return None
            state = _state(status)
            if state and (state, status.st_mtime_ns) == (output.state, output.mtime_ns) and not verify:
                return output
            if hash_file(path) != output.sha256:
                return None
        except (OSError, ValueError):
            return None
        return replace(output, mtime_ns=status.st_mtime_ns, state=state)

    def log(self, name: str) -> Log:
        return _LocalLog(self._path(f"{name}.jsonl", "written"))

    @contextlib.contextmanager
    def cached_listing(self) -> Iterator[None]:
        self._checked = set()
        try:
            yield
        finally:
            self._checked = None

    @contextlib.contextmanager
    def exclusive_lock(self, shard: Shard | None = None) -> Iterator[None]:
        if shard is None:
            with exclusive_lock(self.root):
                self._refuse_other_shards(0)
                yield
            return
        with contextlib.ExitStack() as locks:
            whole = locks.enter_context(_opened(self.root, os.O_RDONLY))
            if not _lock(whole, fcntl.LOCK_SH):
                raise SetupError(f"{escape(self.root)}: in use by a run without --shard; wait until it ends")
            path = self._path(f"{JOURNAL_FOLDER}/shard-{shard.tag}.lock", "written")
            make_folder(path.parent)
            # NFS keeps exclusive locks of files that are open for writing, and of no folders.
            if not _lock(locks.enter_context(_opened(path, os.O_RDWR | os.O_CREAT)), fcntl.LOCK_EX):
                raise SetupError(f"{escape(self.root)}: another process works on shard {shard}; wait until it ends")
            self._refuse_other_shards(shard.count)
            self._owner = shard.tag
            remove_parts(self.root, self._owner)
            try:
                yield
            finally:
                self._owner = ""

    def _refuse_other_shards(self, count: int) -> None:
        """Raise SetupError while shards of another count are at work: inputs of theirs may be inputs of this run."""
        folder = self._path(JOURNAL_FOLDER, "read")
        for path in list_files(folder) if folder.is_dir() else []:
            found = _LOCK.fullmatch(path.name)
            if found is not None and int(found[1]) != count:
                with _opened(path, os.O_RDONLY) as descriptor:
                    if not _lock(descriptor, fcntl.LOCK_SH):
                        raise SetupError(f"{escape(self.root)}: in use by shards of {found[1]}; wait until they end")

    @contextlib.contextmanager
    def list_lock(self) -> Iterator[None]:
        path = self._path(f"{JOURNAL_FOLDER}/failures.lock", "written")
        make_folder(path.parent)
        with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
            end = time.monotonic() + _LONGEST_WAIT
            while not _lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > end:
                    raise OutputError(f"{escape(path)}: another process has kept this lock for {_LONGEST_WAIT} s")
                time.sleep(0.02)
            yield

    def complete_lines(self, name: str, start: int = 0) -> Iterator[tuple[int, bytes]]:
        path = self._path(name, "read")
        with refusals_as_output_error(path, "read"):
            file = _open_existing(path)
            if file is None:
                return
            with file:
                file.seek(start)
                while line := file.readline(MAX_LINE_BYTES + 1):
                    start += len(line)
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = file.readline(MAX_LINE_BYTES)
                        start += len(rest)
                    if not rest:
                        return
                    yield start, line.removesuffix(b"\n")

    def check_lasting(self) -> None:
        pass

    def check_writable(self) -> None:
        check_writable(self.root)

    def _find(self, name: str, what: str) -> Path | None:
        """Return the path of a name, None if it is too long for the file system: nothing is there. See `_path`."""
        try:
            return self._path(name, what)
        except OutputError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
                return None
            raise

    def _path(self, name: str, what: str) -> Path:
        """Return the path of a name. Raises OutputError, "PATH: cannot be WHAT: reason", if it leads out."""
        folder, slash, _ = name.rpartition("/")
        path = self.root / name
        if self._checked is not None and (folder, slash) in self._checked and _is_no_link(path):
            return path
        try:
            inside(self.root, name)
        except UnsafePathError as error:
            cause = error.__cause__ or error
            link = _find_link_out(self.root, name)
            reason = str(error) if link is None else f"{link} leads out of {self.root}; {_ADVICE}"
            reason = getattr(cause, "strerror", None) or reason
            raise OutputError(f"{escape(path)}: cannot be {what}: {escape(reason)}") from cause
        if self._checked is not None:
            self._checked.add((folder, slash))
        return path


class _LocalLog(Log):
    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent)
        with refusals_as_output_error(path, "written"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o666)
            sync_folder(path.parent)

    def append(self, lines: bytes, *, immediately: bool) -> None:  # noqa: ARG002 - always
        with refusals_as_output_error(self._path, "written"):
            size = os.fstat(self._file).st_size
            try:
                while lines:
                    lines = lines[os.write(self._file, lines) :]
            except OSError:
                with contextlib.suppress(OSError):  # half a line would spoil the next one
                    os.ftruncate(self._file, size)
                raise
            os.fsync(self._file)

    def close(self) -> None:
        with refusals_as_output_error(self._path, "written"):
            os.close(self._file)


@contextlib.contextmanager
def refusals_as_output_error(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError within the context into an OutputError: "PATH: cannot be WHAT: reason"."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be {what}: {error.strerror or error}") from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    with refusals_as_output_error(path, "opened"):
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    """Lock an open file; return False if another process has it. Some network file systems have no locks: True."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _open_existing(path: Path) -> BinaryIO | None:
    """Open a file to read, None if it is absent. Raises OSError, see `open_regular`."""
    try:
        return os.fdopen(open_regular(path), "rb")
    except FileNotFoundError:
        return None


def _state(status: os.stat_result) -> str:
    """Return what a change of a file changes, even one that sets its time back; empty where times are too coarse."""
    if not status.st_mtime_ns % _COARSE:
        return ""
    return f"{status.st_ino}-{status.st_ctime_ns}"


def _is_no_link(path: Path) -> bool:
    """Return whether the last part of a path is neither a link nor "..", and a name that the system accepts."""
    try:
        return path.name != ".." and not stat.S_ISLNK(path.lstat().st_mode)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _find_link_out(root: Path, name: str) -> Path | None:
    """Return the link in a name that leads out of the folder, if there is one."""
    path = root
    for part in Path(name).parts:
        path /= part
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                return path
    return None
