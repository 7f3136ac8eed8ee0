"""Timelines as files, mappings and tables: the code behind the methods of `Timeline`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, SetupError
from ..files import make_folder_of
from ..outputs.formats.events_json import from_document, to_document
from ..outputs.formats.registry import read_events, write_events
from ..outputs.formats.targets import parse_formats, resolve_targets
from ..timeline import Event, Timeline

if TYPE_CHECKING:
    import pandas


def save(timeline: Timeline, path: str | PathLike[str], *, format: str | None, probabilities: bool) -> tuple[Path, ...]:
    """Write a timeline to a file; arguments as for `Timeline.save`."""
    kept = timeline if probabilities else timeline.without_probabilities()
    targets = resolve_targets(Path(path), parse_formats([] if format is None else [format]))
    for files in targets:
        for file in files.paths:
            make_folder_of(file)
        write_events(kept, files.format, files.paths)
    return tuple(file for files in targets for file in files.paths)


def load(path: str | PathLike[str]) -> Timeline:
    """Read the only timeline of a file; arguments as for `Timeline.load`."""
    timelines = load_all(path)
    if len(timelines) != 1:
        raise FormatError(path, f"holds {len(timelines)} timelines; Timeline.load_all reads them")
    return timelines[0]


def load_all(path: str | PathLike[str]) -> list[Timeline]:
    """Read the timelines of a file; arguments as for `Timeline.load_all`."""
    return read_events(Path(path))


def to_dict(timeline: Timeline, *, probabilities: bool) -> dict[str, Any]:
    """Convert a timeline to a JSON-ready mapping; arguments as for `Timeline.to_dict`."""
    return to_document(timeline, segments=probabilities)


def from_dict(document: Mapping[str, Any]) -> Timeline:
    """Make a timeline of a mapping; arguments as for `Timeline.from_dict`."""
    return from_document(dict(document), "video")


def to_dataframe(timeline: Timeline) -> pandas.DataFrame:
    """Make a table of the events; as `Timeline.to_dataframe`."""
    try:
        import pandas as pd
    except ImportError as error:
        raise SetupError("to_dataframe needs pandas; install it with: pip install 'avvp[pandas]'") from error
    columns = [field.name for field in fields(Event)]
    table = pd.DataFrame([[getattr(event, name) for name in columns] for event in timeline.events], columns=columns)
    types = dict.fromkeys(("onset", "offset", "score"), "float64")
    table = table.astype(types)  # of a timeline without events, too
    table.insert(columns.index("score"), "duration", table["offset"] - table["onset"])
    return table
