"""Ogg files that are cut off: FFmpeg leaves out an incomplete last page without a word."""

from __future__ import annotations

import os
from pathlib import Path

from .media_file import open_media_file

_HEADER = 27  # bytes of a page before its table of segments
_LONGEST = _HEADER + 255 + 255 * 255  # bytes of a page


def last_page_is_cut(path: Path) -> bool:
    """Return whether an Ogg file ends within a page.

    Args:
        path: an Ogg file.

    Returns:
        False also where the end of the file is no page at all.

    Raises:
        MediaError: the file cannot be opened.

    Source:
        RFC 3533, section 6.
    """
    with os.fdopen(open_media_file(path), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST))
        end = file.read()
    start = end.rfind(b"OggS\0")
    if start < 0:
        return False
    page = end[start:]
    if len(page) < _HEADER:
        return True
    segments = page[_HEADER : _HEADER + page[_HEADER - 1]]
    return len(segments) < page[_HEADER - 1] or len(page) < _HEADER + len(segments) + sum(segments)
