"""Record of the labels, pseudo_labels.json: their provenance, and the files that this command wrote.

A file is replaced only if its sha256 is in the record; foreign files are refused. A run records files before it writes
the first of them, so the next run recognizes the files of an interrupted one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..batch.storage import Storage, is_name
from ..datasets.pseudo_labels import FOLDERS, RECORD
from ..errors import SetupError
from ..text import escape
from ..text_files import parse_json

REVIEW = "review"  # folder of the pages that `review_pages` writes
OPEN_VOCABULARY = "open_vocabulary"  # key, of labels by a rule: the rule, the sentences, the background
DECIDED_BY = "decision_thresholds"  # key, of the same: the thresholds of the scores, as in timelines
_PAGE = re.compile(rf"{REVIEW}/[^/\0]+\.html")


def read_record(storage: Storage) -> dict[str, Any]:
    """Return the record; empty if it is absent or malformed, so that what it lists is nobody's."""
    try:
        record = parse_json(storage.read(RECORD) or b"{}")
        json.dumps(record, indent=1)  # it will be written again, with what is not known here
    except (ValueError, RecursionError):
        return {}
    return record if type(record) is dict and _lists_names(record) else {}


def _lists_names(record: Mapping[str, Any]) -> bool:
    """Return whether the lists of a record have names of files that this command writes, and checksums."""
    wrote, labelled, review = record.get("wrote", {}), record.get("labelled", []), record.get("review", [])
    if type(wrote) is not dict or not all(type(names) is list for names in (labelled, review, *wrote.values())):
        return False
    digests = [digest for checksums in wrote.values() for digest in checksums]
    names = [*wrote, *labelled, *review]
    if not all(type(text) is str for text in (*digests, *names)):
        return False
    return all(map(is_name, names)) and all(map(_PAGE.fullmatch, review))


def write_record(storage: Storage, record: Mapping[str, Any]) -> None:
    """Create or replace the record."""
    storage.write(RECORD, json.dumps(record, indent=1).encode() + b"\n")


def refuse_foreign_files(storage: Storage, files: Iterable[str]) -> None:
    """Check that no foreign file would be replaced.

    Args:
        storage: of the run.
        files: text files to be written. Label files are checked as well: without a record they are foreign.

    Raises:
        SetupError: a file exists that this command did not write, or that was changed since.
    """
    record = read_record(storage)
    foreign = [file for file in files if storage.exists(file) and not is_unchanged(storage, record, file)]
    if not record:
        foreign += [f"{folder.as_posix()}/" for folder in FOLDERS.values() if storage.names(folder.as_posix(), ".npy")]
    if foreign:
        path = escape(f"{storage.where}/{foreign[0]}")
        advice = "move it away, or use --overwrite, which replaces it and recomputes all scores"
        raise SetupError(f"{path}: was not written by avvp pseudo-label; {advice}")


def check_kind(storage: Storage, *, by_rule: bool) -> None:
    """Check that a storage has no labels of the other kind, whose scores this run would replace or take for its own.

    Args:
        storage: of the run.
        by_rule: whether a rule makes the labels of this run, or thresholds of logits.

    Raises:
        SetupError: it has.
    """
    record = read_record(storage)
    if record and (OPEN_VOCABULARY in record) != by_rule:
        other = "without --classes, by thresholds of logits" if by_rule else "with --classes, by a rule"
        raise SetupError(
            f"{escape(storage.where)}: holds labels that were made {other}; choose another folder, or use --overwrite"
        )


def mark_unfinished(storage: Storage, files: Mapping[str, bytes], labelled: Iterable[str]) -> dict[str, Any]:
    """Record what is about to be written, and that the run is unfinished.

    Args:
        storage: of the run.
        files: text file -> its new content; the record keeps both the old and the new checksums.
        labelled: clips whose label files are written.

    Returns:
        The record as it was before.
    """
    record = read_record(storage)
    wrote = {file: list(digests) for file, digests in record.get("wrote", {}).items()}
    for file, digests in digests_of(files).items():
        wrote[file] = [*wrote.get(file, ()), *digests]
    names = sorted({*map(str, record.get("labelled", ())), *labelled})
    write_record(storage, {**record, "unfinished": True, "wrote": wrote, "labelled": names})
    return record


def is_unchanged(storage: Storage, record: Mapping[str, Any], file: str) -> bool:
    """Return whether a file is as this command wrote it, according to a record."""
    return _digest(storage.read(file)) in record.get("wrote", {}).get(file, ())


def digests_of(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Return file -> checksums that it may have, the value of "wrote" in the record."""
    return {file: [_digest(content)] for file, content in files.items()}


def _digest(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()
