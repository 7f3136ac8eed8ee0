"""Find the timelines of clips in a folder of files of events, from any program, and read them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Generic, NamedTuple, TypeVar

from ...weights.messages import first_line
from ...weights.unicode import decode_unicode
from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id, find_name, name_of_results, names_with_suffix, video_of
from ..errors import DatasetError
from ..event_limits import parse_event_json, read_event_bytes
from ..files import list_files, without_media_suffix
from ..text import escape
from ..timeline import MAX_EVENTS

_TIMELINE_SUFFIX = ".events.json"
Value = TypeVar("Value")


class ClipValues(NamedTuple, Generic[Value]):
    """What was read of n clips of a split."""

    rows: tuple[int, ...]  # of the clips, in the split
    values: list[Value]  # of each clip
    notes: tuple[str, ...]  # for the reader of scores


def read_clips(
    folder: Path,
    annotations: Annotations,
    split: str,
    read: Callable[[Path, dict[str, Any], int], Value],
    *,
    allow_missing: bool = False,
) -> ClipValues[Value]:
    """Read the timelines of the clips of a split.

    Args:
        folder: with a JSON file for each clip: called `<filename>` or `<id>` (the suffix of a media file may follow,
            then `.events.json` or `.json`), or stating the clip as its media file, by which data sets name it.
        annotations: of the data set.
        split: "train", "val" or "test".
        read: called with the path of a file, its document and the index of its clip; returns what is kept of it, or
            raises DatasetError.
        allow_missing: leave out the clips that have no timeline; `notes` states the number of the others.

    Returns:
        The clips, and what `read` returned for each.

    Raises:
        DatasetError: timelines are missing or invalid; the message lists all of them.
    """
    clips = annotations.split(split)
    rows: list[int] = []
    values: list[Value] = []
    missing: list[str] = []
    problems: list[str] = []
    found, ambiguous = _find_timelines(folder, clips.filenames, annotations.videos)
    problems += ambiguous
    clips_by_name = {name: filename for filename in clips.filenames for name in (clip_id(filename), filename)}

    def of_video(filename: str) -> str:
        return clip_id(video_of(filename, annotations.videos))

    for index, filename in enumerate(clips.filenames):
        path = found.get(filename)
        if path is None:
            missing.append(f"{escape(filename)}{_TIMELINE_SUFFIX}")
            continue
        try:
            document = read_document(path)
            stated = _stated_name(path, document)
            other = None if stated is None else clips_by_name.get(stated)
            if other is not None and of_video(other) != of_video(filename):
                raise DatasetError(f"{escape(path)}: called like one clip, but states that it is of {escape(stated)}")
            value = read(path, document, index)
        except DatasetError as error:
            problems.append(str(error))
            continue
        rows.append(index)
        values.append(value)
    if missing and (not allow_missing or not rows):
        problems += [f"missing: {name}" for name in missing]
    if problems:
        hint = "" if allow_missing or not missing else " (--allow-missing scores the others)"
        raise DatasetError.listing(f"the timelines in {escape(folder)} cannot be scored{hint}", problems)
    notes = [f"{len(rows)} of {len(clips)} clips: the others have no timeline"] if missing else []
    return ClipValues(tuple(rows), values, tuple(notes))


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON object of a file of events. Raises DatasetError."""
    try:
        # An event that is not an interval is named as such.
        document = parse_event_json(decode_unicode(read_event_bytes(path)), finite=False)
        if not isinstance(document, dict):
            raise TypeError("not a JSON object")
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{escape(path)}: not a timeline: {first_line(error)}") from error
    return document


def read_events(
    path: Path, document: Mapping[str, Any], find: Callable[[str], str | None]
) -> list[tuple[str, str, float, float]]:
    """Return modality, class, onset and offset of the events of a document.

    Args:
        path: of its file, for error messages.
        document: of `read_document`.
        find: name -> class; None leaves the event out.

    Raises:
        DatasetError: it is not a timeline.
    """
    try:
        named = ((find(event["label"]), event) for event in limited_events(document))
        return [
            (event["modality"], label, float(event["onset"]), float(event["offset"]))
            for label, event in named
            if label is not None
        ]
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise invalid_timeline(path, error) from error


def limited_events(document: Mapping[str, Any]) -> list[Any]:
    """Return the events of a document. Raises KeyError, TypeError and ValueError, of more than a timeline may have."""
    events = document["events"]
    if len(events) > MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS:,} events")
    return events


def invalid_timeline(path: Path, error: Exception) -> DatasetError:
    """Return the error that a file is not a timeline."""
    cause = f"no {error}" if isinstance(error, KeyError) else first_line(error)
    return DatasetError(f"{escape(path)}: not a timeline: {cause}")


def _find_timelines(
    folder: Path, filenames: Sequence[str], videos: Mapping[str, str]
) -> tuple[dict[str, Path], list[str]]:
    """Find the file of each clip: by its name, and where there is none of the clip's name by the media that it states.

    Args:
        folder: of the files, and of folders with others; hidden ones are left out.
        filenames: of the clips.
        videos: of `Annotations`.

    Returns:
        Clip -> file, and a line for each clip of which several files state that they are its timeline.
    """
    files = _list_timelines(folder)
    found = _match(filenames, files, videos)
    rest = [filename for filename in filenames if filename not in found]
    if not rest:
        return found, []
    used = set(found.values())
    by_media: dict[str, Path] = {}
    rivals: dict[str, Path] = {}
    for path in sorted(set(files.values()) - used):
        with contextlib.suppress(DatasetError):  # JSON of another kind
            if name := _stated_name(path, read_document(path)):
                (rivals if name in by_media else by_media)[name] = path
    matched = _match(rest, by_media, videos)
    problems = [
        f"{escape(by_media[name])} and {escape(rivals[name])}: both state that they are of {escape(name)}"
        for name in rivals
        if by_media[name] in matched.values()
    ]
    return found | matched, problems


def _match(filenames: Sequence[str], files: Mapping[str, Path], videos: Mapping[str, str]) -> dict[str, Path]:
    with_suffix = names_with_suffix(files)
    names = {filename: find_name(filename, files.keys(), with_suffix, videos) for filename in filenames}
    return {filename: files[name] for filename, name in names.items() if name is not None}


def _list_timelines(folder: Path) -> dict[str, Path]:
    """Return name -> file of the JSON files in a folder and below it; `NAME.events.json` goes before `NAME.json`."""
    try:
        files = list_files(folder, recursive=True)
    except OSError as error:
        raise DatasetError(f"{escape(folder)}: cannot be listed: {error.strerror}") from error
    named: dict[str, Path] = {}
    for suffix in (".json", _TIMELINE_SUFFIX):
        for file in files:
            if file.name.endswith(suffix):
                named[file.relative_to(folder).as_posix().removesuffix(suffix)] = file
    return named


def _stated_name(path: Path, document: Any) -> str | None:
    """Return the name of the media file that a timeline states, None where it states none."""
    media = document.get("media")
    stated = media.get("path") if isinstance(media, dict) and "events" in document else None
    if not isinstance(stated, str) or not stated:
        return None
    base = path.name.removesuffix(_TIMELINE_SUFFIX).removesuffix(".json")
    return name_of_results(base, without_media_suffix(PurePath(stated).name)) or None
