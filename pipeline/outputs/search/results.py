"""Write what a search found: as a table to read, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...clock import format_clock
from ...text import display_label, encode_text, escape
from ...timeline import MODALITY_WORDS
from ..formats.events_json import event_fields
from .matches import Moment
from .query import Query
from .search import SearchResult

COLUMNS = ("file", "modality", "label", "onset", "offset", "score", "events", "source")
_SCORE_DECIMALS = 6


def describe_count(result: SearchResult) -> str:
    """Say how much was found, in one line: "12 matches in 3 of 30 timelines"."""
    if not result.total:
        return f"no matches in {_count(result.timelines, 'timeline')}"
    found = _count(result.total, "match", "matches")
    where = f"{result.timelines_with_matches:,} of {_count(result.timelines, 'timeline')}"
    shown = "" if len(result.matches) == result.total else f", {len(result.matches):,} shown"
    return f"{found} in {where}{shown}"


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def render_result(result: SearchResult) -> RenderableType:
    """Render a table with a row for each match, and how many there are.

    Args:
        result: of a search.

    Returns:
        Lines for rich.
    """
    summary = Text(describe_count(result), style="bold")
    if not result.matches:
        return summary
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    for name in ("from", "to", "seconds", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("events", overflow="fold")
    for match in result.matches:
        moment = match.moment
        times = [format_clock(second, decimals=1) for second in (moment.onset, moment.offset)]
        numbers = (f"{moment.duration:.1f}", f"{moment.score:.2f}")
        table.add_row(Text(escape(match.name)), *times, *numbers, Text(describe_events(moment)))
    return Group(table, summary)


def describe_events(moment: Moment) -> str:
    """Return modality and class of the events, for people: "audio Dog + visual Vacuum cleaner"."""
    return " + ".join(f"{MODALITY_WORDS[event.modality]} {display_label(event.label)}" for event in moment.events)


def write_csv(result: SearchResult) -> bytes:
    """Write comma-separated values that are events themselves: every command that takes events reads them.

    The time that several events share has their classes, joined by " + ", as its class, and their modality, or
    "audio_visual" where they differ.

    Args:
        result: of a search.

    Returns:
        The content of a file.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for match in result.matches:
        moment = match.moment
        times = (moment.onset, moment.offset, round(moment.score, _SCORE_DECIMALS))
        events = " + ".join(f"{MODALITY_WORDS[event.modality]} {event.label}" for event in moment.events)
        writer.writerow((escape(match.name), moment.modality, moment.label, *times, events, escape(match.source)))
    return encode_text(text.getvalue())


def write_json(result: SearchResult, query: Query) -> bytes:
    """Write a JSON document with the query, the matches and their events.

    Args:
        result: of a search.
        query: of the search.

    Returns:
        The content of a file.
    """
    document = {
        "conditions": [
            {"label": condition.label, "modality": condition.modality or "any"} for condition in query.conditions
        ],
        "any": query.any_of,
        "min_score": query.min_score,
        "min_duration": query.min_duration,
        "timelines": result.timelines,
        "total": result.total,
        "matches": [
            {
                "file": match.name,
                "source": escape(match.source),
                "onset": match.moment.onset,
                "offset": match.moment.offset,
                "score": round(match.moment.score, _SCORE_DECIMALS),
                "events": [event_fields(event) for event in match.moment.events],
            }
            for match in result.matches
        ],
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
