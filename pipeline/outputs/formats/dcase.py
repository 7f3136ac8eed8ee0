"""Strong labels of DCASE, as sed_eval reads them: one tab-separated table per modality."""

from __future__ import annotations

from collections.abc import Mapping

from ...tables import NumberReader, format_cells, parse_table
from ...text import encode_text
from ...timeline import MAX_EVENTS, SINGLE_MODALITIES, Event, Timeline
from ..postprocess import split_modalities
from .tiers import to_timelines

SUFFIXES = ("audio.dcase.tsv", "visual.dcase.tsv")
COLUMNS = ("filename", "onset", "offset", "event_label")
_WITHOUT_SEPARATORS = str.maketrans("\t\n\r", "   ")


def write(timeline: Timeline) -> list[bytes]:
    """Write a row per event, seconds with six decimals; tabs and newlines in names become spaces.

    Args:
        timeline: the events.

    Returns:
        The audio table and the visual table.
    """
    clip, events = timeline.name.translate(_WITHOUT_SEPARATORS), split_modalities(timeline.events)
    rows = {
        modality: "".join(
            format_cells(clip, f"{event.onset:.6f}", f"{event.offset:.6f}", event.label.translate(_WITHOUT_SEPARATORS))
            + "\n"
            for event in events
            if event.modality == modality
        )
        for modality in SINGLE_MODALITIES
    }
    return [encode_text(format_cells(*COLUMNS) + "\n" + text) for text in rows.values()]


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the tables of both modalities, or of one, and add the audio-visual events.

    Args:
        contents: suffix -> text; the other file may be missing.
        name: name of the timeline where the tables have no rows.

    Returns:
        One timeline for each file that the tables name. A file in a row without times and class, as DCASE writes
        clips in which nothing happens, has no events.

    Raises:
        ValueError: a table lacks a column or has a row that is not an event.
    """
    events: dict[str, list[Event]] = {}
    for modality, suffix in zip(SINGLE_MODALITIES, SUFFIXES, strict=True):
        if suffix not in contents:
            continue
        numbers = NumberReader(decimal_comma=True)
        table = parse_table(contents[suffix], COLUMNS, delimiters="\t;", max_rows=MAX_EVENTS)
        table.require(COLUMNS, separated="tab-separated")
        for problem in table.problems:
            raise ValueError(f"{suffix}:{problem.line}: {problem.cause}")
        for row in table.rows:
            file, onset, offset, label = (row.cells[column] for column in COLUMNS)
            of_file = events.setdefault(file or name, [])
            try:
                if onset or offset or label:
                    of_file.append(Event(modality, label, numbers.parse(onset), numbers.parse(offset), 1.0))
            except ValueError as error:
                raise ValueError(f"{suffix}:{row.line}: {error}") from error
    return to_timelines(events, name)
