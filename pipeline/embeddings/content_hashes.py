"""Hashes of media files, remembered: a film of an hour is not read again to learn that it is the same.

<folder>/hashes/PATH.json   {"size", "mtime_ns", "state", "sha256"} of the file with this hash of its path
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from pathlib import Path

from ..errors import OutputError
from ..files import hash_stream, open_regular, write_atomic
from ..text_files import parse_json

MAX_HASHES = 20_000  # that are remembered; the oldest are removed
CONTENT_DIGITS = 32  # of a file's hash, in the name of its embeddings
_MAX_BYTES = 1 << 10
_SETTLED = 2.0  # seconds: a file that was changed later may change again without a change of its times
_SHA256 = re.compile("[0-9a-f]{64}")
_FOLDER = "hashes"


def content_hash(path: Path, folder: Path) -> str:
    """Return the sha256 of a file's content: as it is remembered, if the file has not changed since.

    Args:
        path: a regular file.
        folder: of the store of embeddings, in which hashes are remembered where it can be written.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read, is no regular file, or has changed meanwhile.
    """
    place = folder / _FOLDER / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()}.json"
    with os.fdopen(open_regular(path), "rb") as file:
        identity = file_identity(os.fstat(file.fileno()))
        if (known := _recall(place, identity)) is not None:
            return known
        settled = time.time() - _SETTLED
        digest = hash_stream(file)
        status = os.fstat(file.fileno())
    if file_identity(status) != identity:
        raise OSError(f"{path} has changed while it was read")
    if max(status.st_mtime, status.st_ctime) < settled:
        _remember(place, {**identity, "sha256": digest})
    return digest


def may_have_embeddings(path: Path, folder: Path) -> bool:
    """Return whether a store has embeddings of a file's content, by any networks: a look that imports nothing slow.

    Args:
        path: of the file.
        folder: of the store.
    """
    try:
        return folder.is_dir() and any(folder.glob(f"{content_hash(path, folder)[:CONTENT_DIGITS]}-*"))
    except OSError:
        return False


def file_identity(status: os.stat_result) -> dict[str, int | str]:
    """Return what a change of a file's content changes."""
    state = f"{status.st_dev}-{status.st_ino}-{status.st_ctime_ns}"
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "state": state}


def _recall(place: Path, identity: dict[str, int | str]) -> str | None:
    try:
        with os.fdopen(open_regular(place), "rb") as file:
            values = parse_json(file.read(_MAX_BYTES))
        digest = values.pop("sha256")
        return digest if values == identity and _SHA256.fullmatch(digest) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _remember(place: Path, values: dict[str, int | str]) -> None:
    """Write a hash; where the folder cannot be written, it is computed again next time."""
    with contextlib.suppress(OSError, OutputError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, json.dumps(values).encode())
        names = list(place.parent.iterdir())
        if len(names) > MAX_HASHES:
            for old in sorted(names, key=lambda name: name.stat().st_mtime)[: len(names) - MAX_HASHES]:
                old.unlink(missing_ok=True)
