"""Event files that a person names: one by one or by the folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import FormatError, SetupError
from ...files import FAILURES_FILE, is_file
from ...text import escape
from ...timeline import Timeline
from .registry import FORMATS, Format, all_files, find_format, read_events


@dataclass
class EventFiles:
    """Timelines by name, every file that they were read from, and what was left out of folders and why."""

    timelines: dict[str, Timeline] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_event_files(arguments: Iterable[Path]) -> EventFiles:
    """Read files of events, and of folders those that are some.

    A form of several files is read once, whichever of them are named. Where a folder has a timeline in several forms,
    the first of `FORMATS` counts, so JSON where there is any. Raises SetupError for what is not there, for a folder
    without events, and where two timelines have the same name; FormatError for a file that is named and no events.
    """
    found, places = EventFiles(), dict[str, Path]()
    for argument in arguments:
        if argument.is_dir():
            if not _read_folder(argument, found, places):
                why = f": {found.notes[0]}" if found.notes else ""
                raise SetupError(f"{escape(argument)}: no files of events in this folder{why}")
        elif not is_file(argument):
            raise SetupError(f"{escape(argument)}: no such file")
        elif argument not in found.files:
            _add(argument, read_events(argument), found, places)
    return found


def _read_folder(folder: Path, found: EventFiles, places: dict[str, Path]) -> int:
    """How many timelines it has."""
    before = len(found.timelines)
    for path in _choose(folder):
        if path in found.files:
            continue
        try:
            timelines = read_events(path)
        except FormatError as error:  # files of other programs lie in folders, too
            found.notes.append(f"left out: {error}")
            continue
        _add(path, timelines, found, places)
    return len(found.timelines) - before


def _choose(folder: Path) -> list[Path]:
    """Of each name the files in one form, of a form with several files the first."""
    groups: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        known = find_format(path)
        if known is None or path.name.startswith(".") or path.name == FAILURES_FILE or not is_file(path):
            continue
        form, suffix, base = known
        if form.read is None or ((form.reads or {}).get(suffix, suffix) != suffix and form.name != "json"):
            continue  # a text of any name may be labels of Audacity, but in a folder it hardly is
        groups.setdefault(base, {}).setdefault(form.name, []).append(path)
    chosen = []
    for forms in groups.values():
        form: Format = next(FORMATS[name] for name in FORMATS if name in forms)
        chosen += forms[form.name][:1] if len(form.suffixes) > 1 else forms[form.name]
    return sorted(chosen)


def _add(path: Path, timelines: Iterable[Timeline], found: EventFiles, places: dict[str, Path]) -> None:
    found.files += all_files(path)
    for timeline in timelines:
        if timeline.name in found.timelines:
            both = f"{escape(places[timeline.name])} and {escape(path)}"
            raise SetupError(f"{both}: two timelines are called {escape(timeline.name)}; name one of them")
        found.timelines[timeline.name], places[timeline.name] = timeline, path
