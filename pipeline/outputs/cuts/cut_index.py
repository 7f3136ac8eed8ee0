"""List of the cuts of a folder, with their times in the media: CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...text import encode_text, escape
from .journal import FinishedCut
from .plan import Cut

INDEX_NAMES = {"csv": "cuts.csv", "json": "cuts.json"}
_DECIMALS = 6
COLUMNS = (
    "cut", "video", "media", "modality", "label", "onset", "offset", "score", "events", "start", "end", "onset_in_cut",
    "exact",
)  # fmt: skip


def write_index(cuts: Iterable[tuple[Cut, FinishedCut]], form: str, *, exact: bool) -> bytes:
    """Write the list of cuts.

    `onset` and `offset` are those of the events, `start` and `end` those of the cut, all in seconds of the media;
    `onset_in_cut` is the onset in seconds of the cut.

    Args:
        cuts: those that exist, in order.
        form: key of `INDEX_NAMES`.
        exact: whether they were encoded anew.

    Returns:
        The content of the file.
    """
    rows = [_row(cut, done, exact=exact) for cut, done in cuts]
    if form == "json":
        return (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([*list(row.values())[:-1], str(exact).lower()] for row in rows)
    return encode_text(text.getvalue())


def _row(cut: Cut, done: FinishedCut, *, exact: bool) -> dict[str, Any]:
    numbers = (cut.onset, cut.offset, cut.score, cut.events, done.start, done.end, max(0.0, cut.onset - done.start))
    rounded = [round(number, _DECIMALS) for number in numbers]
    names = (cut.name, escape(cut.video), escape(Path(cut.media).name), cut.modality, cut.label)
    return dict(zip(COLUMNS, (*names, *rounded, exact), strict=True))
