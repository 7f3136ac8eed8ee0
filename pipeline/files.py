"""Atomic writing, locking and naming of files."""

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
AUDIO_SUFFIXES = (".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
FAILURES_FILE = "failures.csv"  # inputs of a batch run that failed, with the reasons
PART_PREFIX = ".avvp-"  # of temporary files
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + AUDIO_SUFFIXES)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write to, then fsync it and rename it to `path`.

    If the body or the disk fails, `path` is unchanged and the temporary file is removed.

    Args:
        path: the file to replace or create. A symbolic link stays; its target is replaced.

    Yields:
        An empty temporary file in the same folder.

    Raises:
        OutputError: an OSError, from the body or from the system.
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
        temporary.chmod(0o666 & ~mask)  # mkstemp's files are private; results get the user's default mode
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically: on failure it is unchanged.

    Args:
        path: the file. A symbolic link stays; its target is replaced. A device or a pipe is written to directly.
        content: all bytes of the file.

    Raises:
        OutputError: the file cannot be written.
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
    """Lock a folder against other processes, and remove temporary files that a killed one left in it.

    Args:
        root: an existing folder.

    Raises:
        SetupError: another process holds the lock.
    """
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(f"{escape(root)}: in use by another process; wait until it ends") from error
        except OSError:  # some network file systems have no locks
            pass
        for temporary in root.glob(f"{PART_PREFIX}*.part"):
            temporary.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_file(path: Path) -> bool:
    """Return whether a file exists; False for a name that the system rejects (too long, or with a null byte)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def safe_file_name(name: str) -> str:
    """Return `name` without slashes, null bytes and leading dots, so that it names a visible file in a folder."""
    return name.replace("/", "_").replace("\0", "_").lstrip(".") or "_"


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, if they do not exist.

    Args:
        folder: the folder.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be created: {error.strerror or error}") from error


def is_device_or_pipe(path: Path) -> bool:
    """Return whether a path exists and is not a regular file: a device, a pipe, a folder."""
    return path.exists() and not path.is_file()


def check_writable(folder: Path) -> None:
    """Check that files can be created in a folder, by creating one: permission bits mean nothing to root.

    Args:
        folder: the folder.

    Raises:
        OutputError: it does not exist or is not writable.
    """
    if not folder.is_dir():
        raise OutputError(f"{escape(folder)}: no such folder; create it first")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=PART_PREFIX, suffix=".part"):
            pass
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be written to: {error.strerror or error}") from error
