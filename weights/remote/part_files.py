"""Incomplete downloads: `NAME.part` beside the file, a plain file that nothing else leads to."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def open_part(part: Path) -> Iterator[IO[bytes]]:
    """Open an incomplete file for reading and writing, or create it.

    Args:
        part: the file; what is not a plain file of this user is replaced, see `discard_foreign`.

    Yields:
        The file, at its beginning.

    Raises:
        OSError: the file cannot be created.
    """
    discard_foreign(part)
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{part.name} is not a plain file")
        yield file


def discard_foreign(path: Path) -> None:
    """Remove what somebody else put in the place of an incomplete file.

    In a shared folder that may be a link, or a second name of a file elsewhere: writing to it would change that file.
    A file of another user can be changed by that user at any time.

    Args:
        path: where an incomplete file may be; nothing happens to a plain file of this user.

    Raises:
        OSError: there is a folder, or something that cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()):
            path.unlink()
