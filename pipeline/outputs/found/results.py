"""Write the moments that a search found: as a table to read, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...clock import format_clock
from ...embeddings.search.query import SearchSettings
from ...embeddings.search.search import FoundMoment, SearchOutcome
from ...files import without_media_suffix
from ...text import encode_text, escape
from ...timeline import MODALITY_WORDS

COLUMNS = (
    "file", "modality", "label", "onset", "offset", "score", "z", "best", "heard", "seen", "source",
)  # fmt: skip
_DECIMALS = 6


def file_name(moment: FoundMoment) -> str:
    """Return what lists call the video of a moment: its id in a folder of results, or the name of its file."""
    return without_media_suffix(Path(moment.name).name if Path(moment.name).is_absolute() else moment.name)


def describe_count(outcome: SearchOutcome, settings: SearchSettings) -> str:
    """Say how much was found, in one line: "20 of 113 moments in 4 h of 12 videos"."""
    hours = outcome.seconds / 3600
    length = f"{hours:,.1f} h" if hours >= 1 else f"{outcome.seconds} s"
    where = f"{length} of {outcome.files:,} video{'' if outcome.files == 1 else 's'}"
    shown = len(outcome.moments)
    if not shown:
        highest = ""
        if outcome.best > 0:
            least = math.floor(10 * outcome.best) / 10
            highest = f"; the highest z is {outcome.best:.1f}: --min-z={least:g} finds it"
        return f"nothing in {where} has z {settings.min_z:g} or more{highest}"
    noun = f"moment{'' if shown == 1 else 's'}"
    if outcome.total is None:
        return f"the best {shown:,} {noun} in {where}"
    return (
        f"{shown:,} of {outcome.total:,} moments in {where}"
        if outcome.total > shown
        else f"{shown:,} {noun} in {where}"
    )


def render_outcome(outcome: SearchOutcome, settings: SearchSettings) -> RenderableType:
    """Render a table with a row for each moment, and how many there are.

    Args:
        outcome: of a search.
        settings: of it.

    Returns:
        Lines for rich.
    """
    summary = Text(describe_count(outcome, settings), style="bold")
    if not outcome.moments:
        return summary
    texts = {moment.text for moment in outcome.moments}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("z", justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for name in ("from", "to", "best at"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("in", no_wrap=True)
    if len(texts) > 1:
        table.add_column("text", overflow="fold")
    for moment in outcome.moments:
        times = [format_clock(second) for second in (moment.onset, moment.offset, moment.best)]
        row = [f"{moment.z:.1f}", Text(escape(file_name(moment))), *times, MODALITY_WORDS[moment.modality]]
        table.add_row(*row, *([Text(escape(moment.text))] if len(texts) > 1 else []))
    return Group(table, summary)


def write_csv(outcome: SearchOutcome) -> bytes:
    """Write comma-separated values that are events themselves: every command that takes events reads them.

    Args:
        outcome: of a search.

    Returns:
        The content of a file; `label` is the text, and `score` the sigmoid of z.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for moment in outcome.moments:
        times = (moment.onset, moment.offset, round(moment.score, _DECIMALS))
        values = [_rounded(value) for value in (moment.z, moment.best, moment.heard, moment.seen)]
        names = (escape(file_name(moment)), moment.modality, escape(moment.text))
        writer.writerow((*names, *times, *("" if value is None else value for value in values), escape(moment.source)))
    return encode_text(text.getvalue())


def write_json(outcome: SearchOutcome, settings: SearchSettings) -> bytes:
    """Write a JSON document with the settings, the moments, and what was searched.

    Args:
        outcome: of a search.
        settings: of it.

    Returns:
        The content of a file.
    """
    document = {
        "sense": settings.sense,
        "together": settings.together,
        "min_z": settings.min_z,
        "files": outcome.files,
        "seconds": outcome.seconds,
        "total": outcome.total,
        "notes": list(outcome.notes),
        "moments": [
            {
                "file": escape(file_name(moment)),
                "media": escape(moment.media),
                "source": escape(moment.source),
                "text": moment.text,
                "modality": moment.modality,
                "onset": moment.onset,
                "offset": moment.offset,
                "best": moment.best,
                "z": _rounded(moment.z),
                "score": _rounded(moment.score),
                "heard": _rounded(moment.heard),
                "seen": _rounded(moment.seen),
            }
            for moment in outcome.moments
        ],
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
