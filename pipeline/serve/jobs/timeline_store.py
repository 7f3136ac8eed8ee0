"""Timelines on disk, with their history.

    timelines/<id>/000001.json         a version: written once, never changed; the highest number is the current one
    timelines/<id>/bands.json          film, waveform and spectrogram for the page
    timelines/<id>/versions.json       who saved which version, and when; what is lost of it is only that
    events/<name>-<id>.events.json     the current version, for other commands: a hard link, or a copy

A version is written to a temporary file, fsynced and renamed, so a server that is killed leaves the version or none.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....weights.unicode import TextError, decode_unicode
from ...durable import create_part, discard, sync_folder
from ...errors import AVVPError, OutputError
from ...event_limits import parse_event_json, read_event_bytes
from ...files import hash_file, make_folder, remove_parts, without_media_suffix, write_atomic
from ...outputs.formats.events_json import from_document
from ...text import escape
from ...timeline import Timeline
from .job import is_id
from .limits import MAX_AUTHOR, MAX_VERSIONS
from .uploads import clean_name

_FILE = re.compile(r"(\d{6})\.json")
BANDS, _VERSIONS = "bands.json", "versions.json"
_MAX_BANDS = 4 << 20  # bytes; those of a day are a quarter of a megabyte
_MAX_NUMBER = 999_999


class UnknownTimelineError(AVVPError):
    """There is no timeline, or no version, of this name."""


class ConflictError(AVVPError):
    """A timeline was changed by someone else meanwhile.

    Attributes:
        version: that is current.
    """

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message)
        self.version = version


class InvalidTimelineError(AVVPError):
    """A document is not a timeline."""


@dataclass(frozen=True)
class Version:
    """A version of a timeline.

    Attributes:
        number: counted from 1, which is what the networks found.
        time: when it was saved, seconds since 1970.
        author: who saved it, as far as the document says; else the address of the client.
        events: number of events; -1 where it is not known any more.
    """

    number: int
    time: float
    author: str = ""
    events: int = -1


class TimelineStore:
    """The timelines of a server. Thread-safe; the caller holds the lock of the folder.

    Attributes:
        lock: held while a version is saved; hold it to compare the current version before a timeline is removed.

    Args:
        root: folder of the histories.
        events: folder of the current versions.
    """

    def __init__(self, root: Path, events: Path) -> None:
        self._root, self._events = root, events
        self.lock = threading.Lock()  # savers and removers take turns: a save takes milliseconds

    def folder(self, job_id: str) -> Path:
        """Return the folder of a timeline. Raises UnknownTimelineError for what is no id."""
        if not is_id(job_id):
            raise UnknownTimelineError("no such timeline")
        return self._root / job_id

    def first_version(self, job_id: str) -> Path:
        """Create the folder of a new timeline, and return the file of its first version. Raises OutputError."""
        folder = self.folder(job_id)
        shutil.rmtree(folder, ignore_errors=True)  # of a start that the journal does not know the end of
        make_folder(folder)
        return folder / _file(1)

    def add_first(self, job_id: str, name: str, events: int) -> None:
        """Complete a timeline whose first version has been written.

        Args:
            job_id: of the timeline.
            name: of the media.
            events: number of events.

        Raises:
            OutputError: the disk is full, or refuses.
        """
        _write_versions(self.folder(job_id), [Version(1, time.time(), "avvp", events)])
        make_folder(self._events)
        self._publish(job_id, name, 1)

    def current(self, job_id: str) -> tuple[int, Path]:
        """Return number and file of the current version. Raises UnknownTimelineError."""
        folder = self.folder(job_id)
        numbers = _numbers(folder)
        if not numbers:
            raise UnknownTimelineError("no such timeline")
        return numbers[-1], folder / _file(numbers[-1])

    def is_corrected(self, job_id: str) -> bool:
        """Return whether a timeline has versions beside the first."""
        return _numbers(self.folder(job_id))[1:] != []

    def version(self, job_id: str, number: int) -> Path:
        """Return the file of a version. Raises UnknownTimelineError."""
        folder = self.folder(job_id)
        if number not in _numbers(folder):
            raise UnknownTimelineError("no such version of this timeline")
        return folder / _file(number)

    def read(self, path: Path) -> Timeline:
        """Read a version. Raises InvalidTimelineError where it was damaged."""
        try:
            return parse_timeline(read_event_bytes(path))
        except TextError as error:
            raise InvalidTimelineError(f"{escape(path)}: {error}") from error

    def bands(self, job_id: str) -> dict[str, Any]:
        """Return what `media_bands` has made of the media, empty where that is gone. Raises UnknownTimelineError."""
        try:
            with (self.folder(job_id) / BANDS).open("rb") as file:
                return dict(json.loads(file.read(_MAX_BANDS)))
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def history(self, job_id: str) -> list[Version]:
        """Return the versions that are kept, the oldest first. Raises UnknownTimelineError."""
        folder = self.folder(job_id)
        numbers = _numbers(folder)
        if not numbers:
            raise UnknownTimelineError("no such timeline")
        known = {version.number: version for version in _read_versions(folder)}
        return [known.get(number) or Version(number, _saved(folder / _file(number))) for number in numbers]

    def save(
        self, job_id: str, content: bytes, *, name: str, expected: int, author: str, restored: bool = False
    ) -> int:
        """Save a version that was made from another one.

        Args:
            job_id: of the timeline.
            content: a document of events, see `events_json`.
            name: of the media.
            expected: number of the version that it was made from.
            author: used where the document names nobody.
            restored: the content is an earlier version; whoever it names has not saved it now.

        Returns:
            The number of the new version.

        Raises:
            InvalidTimelineError: the content is not a timeline.
            ConflictError: `expected` is not the current version; nothing is saved.
            OutputError: the disk is full, or refuses; nothing is saved.
            UnknownTimelineError: there is no such timeline.
        """
        timeline = parse_timeline(content)
        author = author if restored else _author(timeline) or author
        with self.lock:
            number, _ = self.current(job_id)
            if number != expected:
                raise ConflictError(self._who_was_first(job_id, number, expected), number)
            if number >= _MAX_NUMBER:
                raise OutputError(f"{_MAX_NUMBER:,} versions are the most that a timeline can have")
            folder, new = self.folder(job_id), number + 1
            write_atomic(folder / _file(new), content)
            # The version is saved. What follows can be repeated, and must not say otherwise.
            with contextlib.suppress(OutputError, OSError):
                latest = Version(new, time.time(), author[:MAX_AUTHOR], len(timeline.events))
                _write_versions(folder, _prune(folder, [*self.history(job_id)[:-1], latest]))
                self._publish(job_id, name, new)
        return new

    def _who_was_first(self, job_id: str, number: int, expected: int) -> str:
        latest = self.history(job_id)[-1]
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(latest.time))
        who = f" by {escape(latest.author)}" if latest.author else ""
        return (
            f"version {number} was saved{who} at {clock}, after version {expected} that these corrections start from;"
            " nothing was overwritten: open the timeline again, or restore the version that you want"
        )

    def remove(self, job_id: str) -> None:
        """Remove a timeline with its history, as far as the system allows."""
        shutil.rmtree(self.folder(job_id), ignore_errors=True)
        for path in self._events.glob(f"*-{job_id}.events.json"):
            discard(path)

    def repair(self, names: Mapping[str, str], *, complete: bool) -> None:
        """Remove temporary files, and publish the current versions: after a server was killed.

        Args:
            names: id of each timeline -> name of its media.
            complete: there are no other timelines: what is left of removed ones goes, too.
        """
        if complete:
            self._remove_unknown(names)
        remove_parts(self._events)
        for job_id, name in names.items():
            remove_parts(self.folder(job_id))
            if numbers := _numbers(self.folder(job_id)):
                with contextlib.suppress(OutputError, OSError):
                    make_folder(self._events)
                    self._publish(job_id, name, numbers[-1])

    def _remove_unknown(self, names: Mapping[str, str]) -> None:
        known = set(names)
        with contextlib.suppress(OSError):
            for folder in self._root.iterdir():
                if is_id(folder.name) and folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)
        for path in self._events.glob("*.events.json"):
            job_id = path.name.removesuffix(".events.json").rpartition("-")[2]
            if is_id(job_id) and job_id not in known:
                discard(path)

    def _publish(self, job_id: str, name: str, number: int) -> None:
        """Let the file of the current version be a version. Raises OSError, OutputError."""
        source = self.folder(job_id) / _file(number)
        target = self._events / f"{clean_name(without_media_suffix(name))}-{job_id}.events.json"
        with contextlib.suppress(OSError):
            if target.samefile(source):
                return
        part, _ = create_part(self._events)
        try:
            part.unlink()
            part.hardlink_to(source)
            part.replace(target)
            sync_folder(self._events)
        except OSError:  # a file system without hard links
            discard(part)
            if not target.is_file() or hash_file(target) != hash_file(source):
                write_atomic(target, source.read_bytes())


def parse_timeline(content: bytes) -> Timeline:
    """Parse a document of events. Raises InvalidTimelineError, in one line."""
    try:
        return from_document(parse_event_json(decode_unicode(content)), "video")
    except (ValueError, RecursionError) as error:  # TextError is a ValueError
        raise InvalidTimelineError(f"not a timeline: {escape(str(error))[:500]}") from error


def _author(timeline: Timeline) -> str:
    """Return who made the last correction, as the last processing step says."""
    by = timeline.processing[-1].get("by") if timeline.processing else None
    return by if isinstance(by, str) else ""


def _file(number: int) -> str:
    return f"{number:06d}.json"


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of the versions in a folder, ascending."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    return sorted(int(match[1]) for name in names if (match := _FILE.fullmatch(name)) is not None)


def _saved(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read_versions(folder: Path) -> list[Version]:
    try:
        entries = json.loads((folder / _VERSIONS).read_bytes()[: 1 << 20])
        return [Version(int(e["number"]), float(e["time"]), str(e["author"]), int(e["events"])) for e in entries]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _write_versions(folder: Path, versions: list[Version]) -> None:
    write_atomic(folder / _VERSIONS, json.dumps([asdict(version) for version in versions]).encode() + b"\n")


def _prune(folder: Path, versions: list[Version]) -> list[Version]:
    """Remove the oldest versions beyond the limit, but not the first one, which the networks have made."""
    surplus = versions[1 : 1 + max(0, len(versions) - MAX_VERSIONS)]
    for version in surplus:
        discard(folder / _file(version.number))
    return [version for version in versions if version not in surplus]
