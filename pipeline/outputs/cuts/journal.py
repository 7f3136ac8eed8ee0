"""Which files of a folder were cut, out of what and how, so that a run can go on and replaces nothing of others.

    .cuts.jsonl   one JSON object per line, appended and fsynced: {"begun": name} before a file is written, and the
                  fields of `FinishedCut` when it is complete

A cut is renamed when it is complete, so a file with an entry is complete; a file without one belongs to somebody else.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ....weights.unicode import TextError
from ...errors import OutputError, SetupError
from ...text import escape
from ...text_files import parse_json, read_bytes
from .plan import Cut

JOURNAL = ".cuts.jsonl"
MAX_JOURNAL_BYTES = 64 << 20
_TEXTS, _NUMBERS = ("name", "key"), ("start", "end", "size")


@dataclass(frozen=True)
class FinishedCut:
    """A cut that is complete.

    Attributes:
        name: of its file.
        key: hash of the media and of what was asked for.
        start: seconds of the media at which it begins.
        end: seconds of the media at which it ends.
        size: bytes of its file.
    """

    name: str
    key: str
    start: float
    end: float
    size: int


def cut_key(cut: Cut, *, exact: bool) -> str:
    """Return the hash of the state of the media and of what is asked for. Raises OSError."""
    status = cut.media.stat()
    media = (os.fsdecode(cut.media.resolve()), status.st_size, status.st_mtime_ns)
    content = json.dumps([*media, cut.start, cut.end, exact])
    return hashlib.sha256(content.encode()).hexdigest()


class CutJournal:
    """Journal of a folder that this process has locked.

    Attributes:
        finished: name of a file -> its newest entry.
        own: names of all files that were written, or begun, by earlier runs.
    """

    def __init__(self, folder: Path) -> None:
        """Read the journal.

        Args:
            folder: of the cuts.

        Raises:
            SetupError: it cannot be read, is too large, or is a link.
        """
        self._path = folder / JOURNAL
        self.finished: dict[str, FinishedCut] = {}
        self.own = set[str]()
        refuse_link(self._path)
        try:
            content = read_bytes(self._path, limit=MAX_JOURNAL_BYTES) if self._path.exists() else b""
        except TextError as error:
            raise SetupError(f"{escape(self._path)}: cannot be read: {error}; choose another folder") from error
        self._cut_off = bool(content) and not content.endswith(b"\n")
        for line in content.split(b"\n"):
            self._read_line(line)

    def _read_line(self, line: bytes) -> None:
        """Take an entry; a line that a crash cut off, or that is none of ours, says nothing."""
        try:
            entry = parse_json(line) if line else None
        except TextError:
            return
        if not isinstance(entry, dict):
            return
        if isinstance(entry.get("begun"), str):
            self.own.add(entry["begun"])
            self.finished.pop(entry["begun"], None)
        elif _is_finished_cut(entry):
            self.finished[entry["name"]] = FinishedCut(**entry)
            self.own.add(entry["name"])

    def is_complete(self, folder: Path, name: str, key: str) -> bool:
        """Return whether a file of the folder is the cut with this key, complete."""
        entry = self.finished.get(name)
        try:
            return entry is not None and entry.key == key and (folder / name).stat().st_size == entry.size
        except OSError:
            return False

    def begin(self, name: str) -> None:
        """Note that a file is going to be written. Raises OutputError."""
        self._append({"begun": name})
        self.own.add(name)

    def finish(self, entry: FinishedCut) -> None:
        """Note that a file is complete. Raises OutputError."""
        self._append(asdict(entry))
        self.finished[entry.name] = entry

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = ("\n" if self._cut_off else "") + json.dumps(entry) + "\n"
        try:
            with self._path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{escape(self._path)}: cannot be written: {error.strerror or error}") from error
        self._cut_off = False


def refuse_link(path: Path) -> None:
    """Raise SetupError for a link: what it leads to would be changed."""
    if path.is_symlink():
        raise SetupError(f"{escape(path)}: is a link; remove it, or choose another folder")


def _is_finished_cut(entry: Mapping[str, Any]) -> bool:
    if entry.keys() != {field.name for field in fields(FinishedCut)}:
        return False
    if not all(isinstance(entry[name], str) for name in _TEXTS):
        return False
    return all(type(entry[name]) in {int, float} and 0 <= entry[name] < math.inf for name in _NUMBERS)
