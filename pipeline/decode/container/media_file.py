"""Open media files safely: regular files only, no playlists, no drawings."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ...errors import MediaError, category_of

MAX_PIXELS = 36_000_000  # 8K; larger frames are refused, because a file of a few bytes can claim gigabytes
_HEAD = 4096  # bytes that are searched for the signature of a file that is no media
_PLAYLISTS = {
    b"#EXTM3U": "an HLS playlist",
    b"ffconcat version": "an ffmpeg concat script",
    b"<MPD": "a DASH playlist",
    b"<?xml": "an XML file (a DASH or other playlist)",
    b"[playlist]": "a playlist",
    b"v=0": "a session description (SDP)",
}
_SVG = re.compile(rb"<(?:svg|[a-z]+:svg)\b|<!DOCTYPE\s+svg", re.IGNORECASE)


def open_media_file(path: Path) -> int:
    """Open a regular file for reading.

    Args:
        path: the file.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        MediaError: the file does not exist, is empty, cannot be opened, or is not a regular file.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer forever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise MediaError(path, "no such file", "missing") from error
    except ValueError as error:  # a NUL
        raise MediaError(path, f"cannot be opened: {error}", "missing") from error
    except OSError as error:
        raise MediaError(path, f"cannot be opened: {error.strerror or error}", category_of(error)) from error
    status = os.fstat(descriptor)
    cause = None
    if stat.S_ISDIR(status.st_mode):
        cause = "is a directory"
    elif not stat.S_ISREG(status.st_mode):
        cause = "is not a regular file"
    elif status.st_size == 0:
        cause = "the file is empty"
    if cause is not None:
        os.close(descriptor)
        raise MediaError(path, cause, "not-media")
    return descriptor


def refuse_foreign_content(path: Path) -> None:
    """Refuse a file whose first bytes are those of a playlist or of a vector drawing.

    A playlist names other files; a drawing has no size of its own and is drawn at any size that it claims.

    Args:
        path: the file.

    Raises:
        MediaError: the file is one of them, or cannot be opened, see `open_media_file`.
    """
    with os.fdopen(open_media_file(path), "rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n")
    if _SVG.search(head) and head.startswith(b"<"):
        raise MediaError(path, "is a vector drawing (SVG), not media; draw it to pixels first", "not-media")
    for mark, what in _PLAYLISTS.items():
        if head.startswith(mark):
            cause = f"is {what}, not media; files that it names are not opened: give the media files"
            raise MediaError(path, cause, "not-media")
