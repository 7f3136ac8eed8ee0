"""Paths that a file of a stranger names: they lead to files of the folder that holds it, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from .messages import shown

_SHOWN = 200  # characters of a name in a message


class UnsafePathError(ValueError):
    """A name leads out of the folder that it belongs to. The message names it, without the folder."""


def inside(folder: Path, name: object) -> Path:
    """Return the path of a file in a folder, or in a folder below it.

    The check is made once: it is no protection against a program that changes links in the folder meanwhile.

    Args:
        folder: what holds the file that names another one; it need not exist, and may itself be a link.
        name: as read from that file, with "/" between folders. The file need not exist.

    Returns:
        `folder / name`.

    Raises:
        UnsafePathError: the name is no text, is empty or longer than the system allows, holds a NUL, is absolute, has
            a part "..", or leads out of the folder through a link.
    """
    if not isinstance(name, str):
        raise UnsafePathError(f"found {type(name).__name__} in place of the name of a file")
    quoted = shown(name, _SHOWN)
    path = Path(name)
    if "\0" in name or path == Path():
        raise UnsafePathError(f"{quoted} is not the name of a file")
    if path.is_absolute() or ".." in path.parts:
        raise UnsafePathError(f"{quoted} leads out of the folder that holds it; only names inside are read")
    try:
        leads_out = not (folder / path).resolve().is_relative_to(folder.resolve())
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (folder / path).stat()  # `resolve` accepts names that the system does not
    except (OSError, RuntimeError, ValueError) as error:  # too long, a link to itself: RuntimeError before Python 3.13
        is_loop = isinstance(error, RuntimeError) or getattr(error, "errno", None) == errno.ELOOP
        reason = "a link that leads to itself" if is_loop else getattr(error, "strerror", None) or "not a name"
        raise UnsafePathError(f"{quoted} cannot be used: {reason}") from error
    if leads_out:
        raise UnsafePathError(f"{quoted} is or crosses a link that leads out of the folder; put the file itself there")
    return folder / path


def is_file(path: Path) -> bool:
    """Return whether a path leads to a regular file; False also for a name that the system does not allow."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path leads to a folder; False also for a name that the system does not allow."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
