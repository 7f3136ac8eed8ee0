"""Read event files and folders of event files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...datasets.clip_names import name_of_results
from ...errors import FormatError, SetupError
from ...files import FAILURES_FILE, is_file, list_files
from ...text import escape
from ...timeline import Timeline
from .registry import FORMATS, Format, all_files, find_format, read_events


@dataclass
class EventFiles:
    """Timelines that were read from files and folders."""

    timelines: dict[str, Timeline] = field(default_factory=dict)  # by name
    sources: dict[str, Path] = field(default_factory=dict)  # name of a timeline -> the file it was read from
    files: list[Path] = field(default_factory=list)  # every file that was read
    # One for each file of a folder that was skipped, with the reason, and those about reading the others.
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NamedTimeline:
    """A timeline of a file.

    Attributes:
        name: of the timeline; others may have the same.
        source: the file it was read from.
        timeline: the events.
    """

    name: str
    source: Path
    timeline: Timeline


def read_event_files(
    arguments: Iterable[Path], change: Callable[[Timeline], Timeline] = lambda timeline: timeline
) -> EventFiles:
    """Read event files and the event files in folders, see `each_timeline`.

    Args:
        arguments: files and folders.
        change: applied to each timeline before the next file is read; what it leaves out takes no memory.

    Returns:
        The timelines, the files they were read from and notes on skipped files and on how the others were read.

    Raises:
        SetupError: a file does not exist, a folder has no event files, or two timelines have the same name.
        FormatError: a file that was given itself does not hold events.
    """
    result = EventFiles()
    for read in each_timeline(arguments, result):
        if read.name in result.timelines:
            both = f"{escape(result.sources[read.name])} and {escape(read.source)}"
            raise SetupError(f"{both}: two timelines are called {escape(read.name)}; pass only one of them")
        result.timelines[read.name], result.sources[read.name] = change(read.timeline), read.source
    return result


def each_timeline(arguments: Iterable[Path], record: EventFiles) -> Iterator[NamedTimeline]:
    """Read event files and the event files in folders, one after the other: only one file is in memory at a time.

    A format of several files is read once, whichever of its files are given. Where a folder has a timeline in several
    formats, the first one in `FORMATS` is read: JSON, if it exists. Files of a folder that are not events are skipped
    with a note.

    Args:
        arguments: files and folders.
        record: receives the files that were read, and the notes; its timelines stay as they are.

    Yields:
        The timelines.

    Raises:
        SetupError: a file does not exist, or a folder has no event files.
        FormatError: a file that was given itself does not hold events.
    """
    done = set[Path]()
    for argument in arguments:
        if argument.is_dir():
            count = 0
            for read in _read_folder(argument, record, done):
                count += 1
                yield read
            if not count:
                reason = f": {record.notes[0]}" if record.notes else ""
                raise SetupError(f"{escape(argument)}: no event files in this folder{reason}")
        elif not is_file(argument):
            raise SetupError(f"{escape(argument)}: no such file")
        elif argument not in done:
            yield from _name(argument, read_events(argument), record, done)


def _read_folder(folder: Path, record: EventFiles, done: set[Path]) -> Iterator[NamedTimeline]:
    for path in _select_files(folder):
        if path in done:
            continue
        try:
            timelines = read_events(path)
        except FormatError as error:  # a folder may hold files of other programs
            record.notes.append(f"left out: {error}")
            continue
        yield from _name(path, timelines, record, done)


def _select_files(folder: Path) -> list[Path]:
    """Return the files of one format for each base name; of a format with several files, the first file.

    Hidden files are left out.
    """
    groups: dict[str, dict[str, list[Path]]] = {}
    try:
        files = list_files(folder)
    except OSError as error:
        raise SetupError(f"{escape(folder)}: cannot be listed: {error.strerror}") from error
    for path in files:
        match = find_format(path)
        if match is None or path.name == FAILURES_FILE or not is_file(path):
            continue
        event_format, suffix, base = match
        is_alias = (event_format.aliases or {}).get(suffix, suffix) != suffix
        if not event_format.is_readable or (is_alias and event_format.name == "audacity"):
            continue  # a .txt file that is given may hold labels of Audacity, but in a folder it rarely does
        groups.setdefault(base, {}).setdefault(event_format.name, []).append(path)
    selected = []
    for paths in groups.values():
        event_format: Format = next(FORMATS[name] for name in FORMATS if name in paths)
        selected += paths[event_format.name][:1] if len(event_format.suffixes) > 1 else paths[event_format.name]
    return sorted(selected)


def _name(path: Path, timelines: Sequence[Timeline], record: EventFiles, done: set[Path]) -> Iterator[NamedTimeline]:
    """Name the timelines of a file, and note what was read."""
    files = all_files(path)
    record.files += files
    done.update(files)
    match = find_format(path)
    if match is not None and not match[0].keeps_warnings:
        record.notes += dict.fromkeys(warning for timeline in timelines for warning in timeline.warnings)
    for timeline in timelines:
        name = _full_name(path, timeline) if len(timelines) == 1 else timeline.name
        yield NamedTimeline(name, path, timeline)


def _full_name(path: Path, timeline: Timeline) -> str:
    match = find_format(path)
    return name_of_results(path.stem if match is None else match[2], timeline.name)
