"""The record beside the labels, pseudo_labels.json: what they were made with, and which files are this command's own.

Files are known again by their checksums; other people's are not replaced. A run claims files before it writes the
first of them, so that what a run leaves which is cut short is not taken for somebody else's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..batch.storage import Storage
from ..datasets.pseudo_labels import FOLDERS, RECORD
from ..errors import SetupError
from ..text import escape


def read_record(storage: Storage) -> dict[str, Any]:
    """Empty where there is none that can be understood."""
    try:
        record = json.loads(storage.read(RECORD) or b"{}")
        lists = [record.get("labelled", []), record.get("review", []), *record.get("wrote", {}).values()]
    except (ValueError, AttributeError):
        return {}
    return record if all(isinstance(one, list) for one in lists) else {}


def write_record(storage: Storage, record: Mapping[str, Any]) -> None:
    """In one piece, in the place of what was there."""
    storage.write(RECORD, json.dumps(record, indent=1).encode() + b"\n")


def refuse_foreign_files(storage: Storage, files: Iterable[str]) -> None:
    """Raises SetupError where one of the files, or labels, are there and were not made by this command."""
    record = read_record(storage)
    wrote = record.get("wrote", {})
    foreign = [
        file for file in files if storage.exists(file) and _digest(storage.read(file)) not in wrote.get(file, ())
    ]
    if not record:
        foreign += [f"{folder.as_posix()}/" for folder in FOLDERS.values() if storage.names(folder.as_posix(), ".npy")]
    if foreign:
        where = escape(f"{storage.where}/{foreign[0]}")
        advice = "move it away, or --overwrite replaces it and makes all scores anew"
        raise SetupError(f"{where}: was not made by this command; {advice}")


def mark_unfinished(storage: Storage, files: Mapping[str, bytes], labelled: Iterable[str]) -> dict[str, Any]:
    """Say which files and which clips' labels are about to be written. Returns the record as it was.

    Until the record is written anew it says that it is unfinished, and knows the files before and after.
    """
    record = read_record(storage)
    wrote = {file: list(digests) for file, digests in record.get("wrote", {}).items()}
    for file, digest in digests_of(files).items():
        wrote[file] = [*wrote.get(file, ()), *digest]
    names = sorted({*map(str, record.get("labelled", ())), *labelled})
    write_record(storage, {**record, "unfinished": True, "wrote": wrote, "labelled": names})
    return record


def digests_of(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """For `wrote` of the record: file -> checksums of what it may hold."""
    return {file: [_digest(content)] for file, content in files.items()}


def _digest(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()
