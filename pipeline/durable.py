"""File operations that survive a crash, and what network file systems make of them.

NFS repeats a request whose answer was lost: a rename or a removal that has happened may be reported as failed, and a
handle may be stale for a moment. So the result of a failed rename is looked at, and what passes is tried again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

PART_PREFIX = ".avvp-"  # of temporary files
_MACHINE = hashlib.sha256(platform.node().encode(errors="replace")).hexdigest()[:8]  # in names of temporary files
_ABANDONED = 86_400  # seconds without a change after which another machine's temporary file is nobody's
_ATTEMPTS = 4  # of an operation that a network file system refuses for a moment
_PAUSE = 0.05  # seconds before the second attempt, twice as long before each later one
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.EBUSY, errno.EXDEV, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN})
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM})


def create_part(folder: Path, owner: str = "") -> tuple[Path, int]:
    """Create an empty temporary file for a file that will be renamed.

    The kernel applies the umask, so it is never changed here: other threads create files meanwhile.

    Args:
        folder: of the file.
        owner: who writes it, where several processes that do not exclude each other share the folder.

    Returns:
        The file, and the mode that it should have in the end; until then its owner may read and write it.

    Raises:
        OSError: it cannot be created.
    """
    middle = f"{owner}." if owner else ""
    path = folder / f"{PART_PREFIX}{_MACHINE}-{middle}{secrets.token_hex(8)}.part"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o600 != 0o600:  # umask 0477 and the like
            os.fchmod(descriptor, mode | 0o600)
    finally:
        os.close(descriptor)
    return path, mode


def finish_part(part: Path, path: Path, mode: int) -> None:
    """Write a temporary file to disk and rename it; afterwards the new name is on disk, too.

    Args:
        part: of `create_part`.
        path: the file to create or replace, in the same folder.
        mode: of `create_part`; programs that write through a temporary file of their own change it.

    Raises:
        OSError: `path` is unchanged, or the system cannot promise that the rename is on disk.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())
    if stat.S_IMODE(status.st_mode) != mode:
        part.chmod(mode)
    identity = status.st_dev, status.st_ino

    def rename() -> None:
        try:
            part.replace(path)
        except OSError:
            if not _was_renamed(part, path, identity):
                raise

    repeat_passing(rename)
    sync_folder(path.parent)


def _was_renamed(part: Path, path: Path, identity: tuple[int, int]) -> bool:
    """Return whether a rename that was reported as failed has happened."""
    try:
        status = path.lstat()
        return (status.st_dev, status.st_ino) == identity and not os.path.lexists(part)
    except OSError:
        return False


def remove_file(path: Path) -> None:
    """Remove a file if it exists. Raises OSError."""
    repeat_passing(lambda: path.unlink(missing_ok=True))


def repeat_passing(operation: Callable[[], None]) -> None:
    """Run an operation, again after a pause where its error may pass. Raises its last OSError."""
    for attempt in range(_ATTEMPTS):
        try:
            return operation()
        except OSError as error:
            if error.errno not in _PASSING or attempt == _ATTEMPTS - 1:
                raise
        time.sleep(_PAUSE * 2**attempt)
    return None


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, where the system can: a new name is lost in a power failure otherwise."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def is_abandoned(part: Path) -> bool:
    """Return whether no program writes to a temporary file any more, given that its folder is locked.

    On NFS and the like a lock may hold on one machine only, so files of other machines must be old.
    """
    machine, dash, _ = part.name.removeprefix(PART_PREFIX).partition("-")
    try:
        return not dash or machine == _MACHINE or part.lstat().st_mtime < time.time() - _ABANDONED
    except OSError:
        return False


def is_part_of(part: Path, owner: str) -> bool:
    """Return whether a temporary file is one that `create_part` has made for an owner."""
    return part.name.removeprefix(PART_PREFIX).partition("-")[2].startswith(f"{owner}.")


def discard(path: Path) -> None:
    """Remove a temporary file; where the system refuses, the next run tries again."""
    with contextlib.suppress(OSError):
        path.unlink()


def rename_folder(part: Path, place: Path) -> None:
    """Give a finished folder its name.

    Args:
        part: the folder, beside `place`.
        place: the name; there may be no folder of it.

    Raises:
        FileExistsError: there is a folder of this name: another process was faster.
        OSError: it cannot be renamed.
    """
    try:
        part.rename(place)
    except OSError as error:
        if place.is_dir():
            raise FileExistsError(place) from error
        raise
