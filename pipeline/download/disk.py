"""Limits of what is downloaded or read from standard input: sizes, and what stays free on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import SetupError
from ..text import escape

MAX_DOWNLOAD_BYTES = 8 << 30  # of one video, with its parts before they are merged
MAX_STDIN_BYTES = 64 << 30  # of media on standard input
MIN_FREE_BYTES = 256 << 20  # that stay free on the disk


def free_bytes(folder: Path) -> int:
    """Return how many bytes may be written to a folder's disk so that `MIN_FREE_BYTES` stay free."""
    return max(0, shutil.disk_usage(folder).free - MIN_FREE_BYTES)


def check_free(folder: Path) -> None:
    """Check that something can be written to a folder's disk.

    Raises:
        SetupError: it is full, or the folder cannot be looked at.
    """
    try:
        free = free_bytes(folder)
    except OSError as error:
        raise SetupError(f"{escape(folder)}: cannot be used: {error.strerror or error}") from error
    if not free:
        left = MIN_FREE_BYTES >> 20
        raise SetupError(f"{escape(folder)}: the disk is full ({left} MiB are kept free); TMPDIR names another folder")


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder that another process writes to."""
    total = 0
    for entry in os.scandir(folder):
        try:
            total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return total
