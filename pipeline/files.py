"""Atomic writing, locking and naming of files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import heapq
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..weights.safe_paths import is_file
from ..weights.unicode import PIPE_SECONDS
from .durable import PART_PREFIX, create_part, discard, finish_part, is_abandoned, is_part_of, sync_folder
from .errors import OutputError, SetupError
from .text import escape

# Of files that the bundled ffmpeg recognizes by their content. Still pictures are not among them.
VIDEO_SUFFIXES = (
    ".264", ".265", ".3g2", ".3gp", ".3gp2", ".3gpp", ".amv", ".apng", ".asf", ".avc", ".avi", ".bik", ".dav",
    ".divx", ".dv", ".dvr-ms", ".evo", ".f4v", ".flc", ".fli", ".flv", ".gif", ".gxf", ".h264", ".h265", ".hevc",
    ".insv", ".ismv", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d",
    ".mkv", ".mov", ".mp2v", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nsv", ".nut", ".nuv",
    ".obu", ".ogm", ".ogv", ".ogx", ".qt", ".rm", ".rmvb", ".smk", ".tod", ".tp", ".trp", ".ts", ".vob", ".vro",
    ".webm", ".wmv", ".wtv", ".y4m",
)  # fmt: skip
AUDIO_SUFFIXES = (
    ".aac", ".ac3", ".adts", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".awb", ".bwf", ".caf", ".dff", ".dsf",
    ".dts", ".dtshd", ".eac3", ".ec3", ".f4a", ".flac", ".isma", ".m4a", ".m4b", ".m4r", ".mka", ".mp1", ".mp2",
    ".mp3", ".mpa", ".mpc", ".oga", ".ogg", ".oma", ".opus", ".ra", ".rf64", ".shn", ".snd", ".spx", ".tak", ".thd",
    ".truehd", ".tta", ".voc", ".w64", ".wav", ".wave", ".weba", ".wma", ".wv",
)  # fmt: skip
_PIPE_INTERVAL = 0.02  # seconds between two attempts
_BLOCK = 1 << 20  # bytes per read
FAILURES_FILE = "failures.csv"  # inputs of a batch run that failed, with the reasons
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + AUDIO_SUFFIXES)
# Names without a leading dot of folders in which systems keep what they hide: macOS in archives, Windows, Synology.
_HIDDEN_FOLDERS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir"})


@contextlib.contextmanager
def replacing(path: Path, owner: str = "") -> Iterator[Path]:
    """Give a temporary file to write to, then fsync it, rename it to `path`, and fsync the folder.

    If the body or the disk fails, `path` is unchanged and the temporary file is removed. Its permissions are those that
    the umask gives to a new file.

    Args:
        path: the file to replace or create. A symbolic link stays; its target is replaced.
        owner: in the name of the temporary file, for `remove_parts`.

    Yields:
        An empty temporary file in the same folder.

    Raises:
        OutputError: an OSError, from the body or from the system.
    """
    temporary = None
    try:
        path = _resolve(path)
        temporary, mode = create_part(path.parent, owner)
        yield temporary
        finish_part(temporary, path, mode)
        temporary = None
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            discard(temporary)


def _resolve(path: Path) -> Path:
    """Resolve links. Raises OSError, also for a link that leads to itself and for what the system takes for no name."""
    try:
        return path.resolve()
    except RuntimeError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error
    except ValueError as error:  # a NUL, or a surrogate that stands for no byte
        raise OSError(errno.EINVAL, f"not the name of a file ({error})") from error


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically: on failure it is unchanged.

    Args:
        path: the file. A symbolic link stays; its target is replaced. A device or a pipe is written to directly.
        content: all bytes of the file.

    Raises:
        OutputError: the file cannot be written, or is a pipe that no program reads from.
    """
    if not is_device_or_pipe(path):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return
    try:
        with os.fdopen(_open_device(path), "wb") as device:
            device.write(content)
    except OSError as error:
        raise OutputError(f"{escape(path)}: cannot be written: {error.strerror or error}") from error


def _open_device(path: Path) -> int:
    """Open a device or a pipe to write to it, without waiting for ever where nobody reads. Raises OSError."""
    end = time.monotonic() + PIPE_SECONDS
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.set_blocking(descriptor, True)
            return descriptor
        except OSError as error:
            if error.errno != errno.ENXIO:  # a pipe without a reader
                raise
            if time.monotonic() > end:
                raise OSError(f"no program reads from this pipe; waited {PIPE_SECONDS} s for one") from error
        time.sleep(_PIPE_INTERVAL)


@contextlib.contextmanager
def exclusive_lock(root: Path) -> Iterator[None]:
    """Lock a folder against other processes, and remove temporary files that a killed one left in it.

    Args:
        root: an existing folder.

    Raises:
        SetupError: another process holds the lock.
    """
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SetupError(f"{escape(root)}: cannot be opened: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(f"{escape(root)}: in use by another process; wait until it ends") from error
        except OSError:  # some network file systems have no locks
            pass
        else:
            remove_parts(root)
        yield
    finally:
        os.close(descriptor)


def remove_parts(folder: Path, owner: str = "") -> None:
    """Remove the temporary files that killed runs left in a folder, as far as the system allows.

    Args:
        folder: locked against others who write there.
        owner: only those of this owner, where others share the folder; empty for all.
    """
    for temporary in folder.glob(f"{PART_PREFIX}*.part"):
        if is_abandoned(temporary) and (not owner or is_part_of(temporary, owner)):
            discard(temporary)


def open_regular(path: Path) -> int:
    """Open a regular file to read. A pipe is not waited for: nobody may write to it.

    Args:
        path: the file, or a link to it.

    Returns:
        Its descriptor, which the caller closes.

    Raises:
        OSError: it is absent, cannot be opened, or is something else, such as a pipe, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def is_hidden(name: str) -> bool:
    """Return whether systems hide a file or folder of this name, such as the `._clip.mp4` that macOS adds to a file."""
    return name.startswith(".") or name in _HIDDEN_FOLDERS


def walk_folder(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Visit a folder and all folders below it, without hidden ones and without recursion, however deep they are.

    Links to folders are followed after the folders that are not links, in sorted order. Each real folder is visited
    once, so links to a folder above do not repeat it.

    Args:
        folder: where to start; itself it may be hidden, or a link.

    Yields:
        A folder and the names of its files, without hidden ones. Broken links are files.

    Raises:
        OSError: a folder cannot be listed; `filename` names it.
    """
    visited = set[tuple[int, int]]()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        here = waiting.pop() if waiting else heapq.heappop(links)
        status = here.stat()
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        files: list[str] = []
        with os.scandir(here) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if not _is_folder(entry):
                    files.append(entry.name)
                elif entry.is_symlink():
                    heapq.heappush(links, here / entry.name)
                else:
                    waiting.append(here / entry.name)
        yield here, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def list_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """List the files of a folder, without hidden ones.

    Args:
        folder: the folder.
        recursive: include the folders below it, see `walk_folder`.

    Returns:
        The files, sorted.

    Raises:
        OSError: a folder cannot be listed; `filename` names it.
    """
    visited = walk_folder(folder)
    folders = visited if recursive else [next(visited)]
    return sorted(place / name for place, names in folders for name in names)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hash_stream(file)


def hash_stream(file: IO[bytes]) -> str:
    """Return the SHA-256 of what is left to read of an open file, in hex."""
    digest = hashlib.sha256()
    while chunk := file.read(_BLOCK):
        digest.update(chunk)
    return digest.hexdigest()


def without_media_suffix(name: str) -> str:
    """Return a file's name or an id without the suffix of a media file, if it has one."""
    base, dot, suffix = name.rpartition(".")
    return base if base.strip("./") and f"{dot}{suffix}".lower() in MEDIA_SUFFIXES else name


def access_problem(path: Path) -> str:
    """Return why a path leads to nothing that exists, such as "no such file"; an empty string where it does."""
    try:
        path.stat()
    except FileNotFoundError:
        return f"no such file (a link to {escape(path.readlink())})" if path.is_symlink() else "no such file"
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "no such file (its name contains a null byte)"
    return ""


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
        missing = [folder]
        while not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        for level in reversed(missing):  # mkdir(parents=True) would recurse: deep trees exceed Python's limit
            level.mkdir(exist_ok=True)
            sync_folder(level.parent)
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be created: {error.strerror or error}") from error


def make_folder_of(file: Path) -> None:
    """Create the folder that a file is to be written to. Raises OutputError; does nothing for a device or a pipe."""
    if not is_device_or_pipe(file) and not (folder := _folder_of(file)).is_dir():
        make_folder(folder)


def check_folder_of(file: Path) -> None:
    """Check that a file, and the folders above it that do not exist yet, can be created.

    Args:
        file: to write; a device or a pipe is not checked.

    Raises:
        OutputError: the nearest folder that exists is not writable, or is a file.
    """
    if is_device_or_pipe(file):
        return
    folder = _folder_of(file)
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{escape(folder)}: is not a folder, so {escape(file)} cannot be written")
    check_writable(folder)


def _folder_of(file: Path) -> Path:
    try:
        return _resolve(file).parent
    except OSError as error:
        raise OutputError(f"{escape(file)}: cannot be written: {error.strerror or error}") from error


def is_device_or_pipe(path: Path) -> bool:
    """Return whether a path exists and is not a regular file: a device, a pipe, a folder."""
    return path.exists() and not is_file(path)


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
        create_part(folder)[0].unlink()
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be written to: {error.strerror or error}") from error
