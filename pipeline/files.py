"""Files that are either whole or not there, and the inputs a person names."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import OutputError, SetupError
from .text import escape

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
    ".vob", ".webm", ".wmv",
)  # fmt: skip
SOUND_SUFFIXES = (".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
FAILURES_FILE = "failures.csv"  # of a batch run: what failed, and why
PART_PREFIX = ".avvp-"  # of files that are being written
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + SOUND_SUFFIXES)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; afterwards it is fsynced and takes the place of `path` at once.

    Where the body or the disk fails, `path` is as it was before. A link stays a link, to the new content.
    Raises OutputError for what the system refuses.
    """
    temporary = None
    try:
        path = path.resolve()
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PART_PREFIX, suffix=".part")
        temporary = Path(name)
        os.close(descriptor)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's files are private; results are as readable as any other
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_atomic(path: Path, content: bytes) -> None:
    """Write, fsync, rename: afterwards the file is there whole, or as it was before. Raises OutputError.

    A link stays a link, to the new content. A device or a pipe is written to as it is, not replaced.
    """
    if not is_device_or_pipe(path):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def exclusive_lock(root: Path) -> Iterator[None]:
    """Keep other processes from working in the same folder, and clear what a killed one left half-written.

    Raises SetupError where another one is at it.
    """
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(f"{escape(root)}: another process is at work in this folder") from error
        except OSError:  # a file system without locks, as some that are shared
            pass
        for left in root.glob(f"{PART_PREFIX}*.part"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that the system refuses (too long, or with a zero byte) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def safe_file_name(name: str) -> str:
    """A name for a file in a folder: neither another folder's nor hidden."""
    return name.replace("/", "_").replace("\0", "_").lstrip(".") or "_"


def make_folder(folder: Path) -> None:
    """A folder and those above it, if they are not there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be made: {error.strerror or error}") from error


def is_device_or_pipe(path: Path) -> bool:
    """A device, a pipe: something that is there and cannot be replaced by a file."""
    return path.exists() and not path.is_file()


def check_writable(folder: Path) -> None:
    """Raises OutputError unless a file can be made in this folder. Tried, not asked: root may, on paper, do all."""
    if not folder.is_dir():
        raise OutputError(f"{escape(folder)}: no such folder; make it first")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=PART_PREFIX, suffix=".part"):
            pass
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be written to: {error.strerror or error}") from error
