"""The two dense annotation files of LLP: audio events and visual events in whole seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...datasets.annotations import EVENT_COLUMNS, EVENT_FILES
from ...datasets.write_annotations import format_rows
from ...tables import NumberReader, Row, parse_table
from ...text import encode_text
from ...timeline import MAX_EVENTS, SINGLE_MODALITIES, Event, Timeline
from .tiers import to_timelines

SUFFIXES = ("eval_audio.csv", "eval_visual.csv")
_WITHOUT_SEPARATORS = str.maketrans("\t\n\r", "   ")
assert all(file.endswith(suffix) for file, suffix in zip(EVENT_FILES.values(), SUFFIXES, strict=True))


def write(timeline: Timeline) -> list[bytes]:
    """Write the audio table and the visual table of one clip.

    A class is active in a second where its events cover at least half of it. Tabs and newlines in names become spaces.

    Args:
        timeline: the clip's events.

    Returns:
        The content of both files, in the order of `SUFFIXES`.
    """
    clip = timeline.name.translate(_WITHOUT_SEPARATORS)
    runs = timeline.active_runs()
    names = {label: label.translate(_WITHOUT_SEPARATORS) for label in timeline.labels}
    tables = (
        [(clip, *run, name) for label, name in names.items() for run in runs.get((modality, label), ())]
        for modality in SINGLE_MODALITIES
    )
    return [encode_text(format_rows(table)) for table in tables]


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the tables of both modalities, or of one, and add the audio-visual events.

    Args:
        contents: suffix -> text; the other file may be missing.
        name: name of the timeline where the tables have no rows.

    Returns:
        One timeline for each clip that the tables name.

    Raises:
        ValueError: a table lacks a column or has a row that is not an event.
    """
    events: dict[str, list[Event]] = {}
    for modality, suffix in zip(SINGLE_MODALITIES, SUFFIXES, strict=True):
        numbers = NumberReader(decimal_comma=True)
        for row in _rows(contents[suffix], suffix) if suffix in contents else ():
            clip, onset, offset, label = (row.cells[column] for column in EVENT_COLUMNS)
            try:
                event = Event(modality, label, numbers.parse(onset), numbers.parse(offset), 1.0)
            except ValueError as error:
                raise ValueError(f"{suffix}:{row.line}: {error}") from error
            events.setdefault(clip, []).append(event)
    return to_timelines(events, name)


def _rows(text: str, name: str) -> Sequence[Row]:
    """Return the rows of one table. Raises ValueError."""
    table = parse_table(text, EVENT_COLUMNS, delimiters="\t;", max_rows=MAX_EVENTS)
    table.require(EVENT_COLUMNS, separated="tab-separated")
    if table.problems:
        raise ValueError(f"{name}:{table.problems[0].line}: {table.problems[0].cause}")
    return table.rows
