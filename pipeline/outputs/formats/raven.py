"""Selection tables of Raven, the annotation program of bioacoustics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from ...tables import NumberReader, Row, format_cells, parse_table
from ...text import encode_text
from ...timeline import MAX_EVENTS, Event, Timeline
from ..postprocess import split_modalities
from .tiers import find_modality, to_timelines

MAX_FREQUENCY = 8_000.0  # Hz; events have no frequencies: a selection is as high as the audio that is analysed
_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Class",
    "Score", "Modality",
)  # fmt: skip
_BEGIN, _END = "begin time (s)", "end time (s)"
_CLASSES = ("class", "annotation", "species", "label", "tags")  # annotators name this column themselves
_WANTED = ("selection", _BEGIN, _END, "score", "modality", "begin file", *_CLASSES)
_TABLE_NUMBER = re.compile(r"\.Table\.[0-9]{1,6}$", re.IGNORECASE)  # of Raven's file names: clip.Table.1.selections.txt
_WITHOUT_SEPARATORS = str.maketrans("\t\n\r", "   ")


def write(timeline: Timeline) -> list[bytes]:
    """Write a selection per audio and visual event, seconds with six decimals, over all frequencies.

    Args:
        timeline: the events; tabs and newlines in labels become spaces.

    Returns:
        The content of one file.
    """
    lines = [format_cells(*_COLUMNS)]
    for number, event in enumerate(split_modalities(timeline.events), 1):
        times, score = (f"{event.onset:.6f}", f"{event.offset:.6f}"), f"{event.score:.6f}"
        label = event.label.translate(_WITHOUT_SEPARATORS)
        cells = (str(number), "Spectrogram 1", "1", *times, "0.0", str(MAX_FREQUENCY), label, score, event.modality)
        lines.append(format_cells(*cells))
    return [encode_text("".join(f"{line}\n" for line in lines))]


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read a selection table, and add the audio-visual events.

    Raven lists a selection once per view: rows of one selection count once. Without a modality, selections are audio
    events; without a score, they have score 1. Selections without a duration are skipped with a warning.

    Args:
        contents: the text of one file.
        name: name of the timeline of rows without a value in `Begin File`; Raven's `.Table.1` at its end is dropped.

    Returns:
        One timeline for each file that the table names.

    Raises:
        ValueError: a column is missing, or a row is not a selection.
    """
    (text,) = contents.values()
    table = parse_table(text, _WANTED, delimiters="\t", max_rows=2 * MAX_EVENTS)  # two views of each
    table.require((_BEGIN, _END), separated="tab-separated")
    label_column = next((column for column in _CLASSES if column in table.columns), None)
    if label_column is None:
        raise ValueError(f"has no column with classes; expected one of {', '.join(_CLASSES)}")
    for problem in table.problems:
        raise ValueError(f"line {problem.line}: {problem.cause}")
    name = _TABLE_NUMBER.sub("", name)
    numbers, seen, points = NumberReader(decimal_comma=True), set[tuple[str, ...]](), 0
    events: dict[str, list[Event]] = {}
    for row in table.rows:
        selection = tuple(
            row.cells.get(column, "") for column in ("selection", "begin file", _BEGIN, _END, label_column, "modality")
        )
        if selection[0] and selection in seen:
            continue
        seen.add(selection)
        try:
            event = _event(row, label_column, numbers)
        except ValueError as error:
            raise ValueError(f"line {row.line}: {error}") from error
        if event is None:
            points += 1
        else:
            events.setdefault(row.cells.get("begin file") or name, []).append(event)
    warnings = (f"selections without a duration are left out: {points:,}",) if points else ()
    return [replace(timeline, warnings=warnings) for timeline in to_timelines(events, name)]


def _event(row: Row, label_column: str, numbers: NumberReader) -> Event | None:
    """Return the event of a row, None for one without a duration. Raises ValueError."""
    onset, offset = numbers.parse(row.cells[_BEGIN]), numbers.parse(row.cells[_END])
    score = numbers.parse(row.cells.get("score") or "1")
    given = row.cells.get("modality", "")
    modality = find_modality(given) if given else "audio"
    if modality is None:
        raise ValueError(f"modality {given!r} is not audio, visual or audio_visual")
    return None if onset == offset else Event(modality, row.cells[label_column], onset, offset, score)
