"""Media on standard input: they are copied to a temporary file, because containers need seeking."""

from __future__ import annotations

import contextlib
import select
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import MediaError, SetupError
from .disk import MAX_STDIN_BYTES, MIN_FREE_BYTES, check_free, free_bytes

STDIN_NAME = "stdin"
_BLOCK = 1 << 20  # bytes per read
_CHECKED = 64 << 20  # bytes after which the disk is looked at again


@contextlib.contextmanager
def spooled(stream: BinaryIO, *, progress: Callable[[int], None] = lambda _: None) -> Iterator[Path]:
    """Copy a stream to a temporary file.

    Args:
        stream: of bytes; not a terminal.
        progress: called with the bytes so far.

    Yields:
        A file called "stdin" in a temporary folder, removed with it at the end.

    Raises:
        MediaError: the stream is empty or longer than `MAX_STDIN_BYTES`.
        SetupError: the stream cannot be read, or the file cannot be written.
    """
    with _temporary_folder("avvp-stdin-") as folder:
        path = folder / STDIN_NAME
        try:
            with path.open("wb") as file:
                _copy(stream, file, folder, progress)
        except OSError as error:
            raise SetupError(f"{STDIN_NAME}: cannot be copied to {folder}: {error.strerror or error}") from error
        yield path


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a stream; other users of a pipe may have made it one that does not wait for data."""
    while (block := stream.read(_BLOCK)) != b"":
        if block is None:
            select.select([stream], [], [])
        else:
            yield block


def _copy(stream: BinaryIO, file: BinaryIO, folder: Path, progress: Callable[[int], None]) -> None:
    copied = left = 0
    for block in _blocks(stream):
        if left < len(block):
            left = min(free_bytes(folder), _CHECKED)
            if left < len(block):
                cause = f"the disk of {folder} is full ({MIN_FREE_BYTES >> 20} MiB are kept free); TMPDIR names another"
                raise SetupError(f"{STDIN_NAME}: {cause}")
        copied, left = copied + len(block), left - len(block)
        if copied > MAX_STDIN_BYTES:
            cause = f"has more than {MAX_STDIN_BYTES >> 30} GiB, the most that is read from standard input"
            raise MediaError(Path(STDIN_NAME), cause)
        file.write(block)
        progress(copied)
    if not copied:
        raise MediaError(Path(STDIN_NAME), "standard input is empty")


@contextlib.contextmanager
def _temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a folder for temporary files, removed at the end. Raises SetupError."""
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise SetupError(f"no folder for temporary files can be made: {error.strerror or error}") from error
    with made as name:
        check_free(Path(name))
        yield Path(name)
