"""Format scores as tables, for the terminal, Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from ..metrics import LEVELS, SCORE_NAMES, Scores
from ..text import escape
from .evaluate import Evaluation, Subset

_SHORT = {"audio": "A", "visual": "V", "audio_visual": "AV", "type_av": "Type", "event_av": "Event"}
_LEVELS = {"segment": "seg", "event": "ev"}
SCORE_HEADER = (*(f"{_LEVELS[level]} {_SHORT[name]}" for level in LEVELS for name in SCORE_NAMES), "mean")
_NO_VALUE = "-"
_PAIR = 2  # columns: the first and one more, which is folded where it is wider than the console
_PADDING = 3  # spaces between columns


@dataclass(frozen=True)
class Table:
    """Table of text; all columns but the first are numbers."""

    title: str
    header: tuple[str, ...]  # column names
    rows: tuple[tuple[str, ...], ...]  # cells, as many as columns
    notes: tuple[str, ...] = ()  # printed below the table

    def to_markdown(self) -> str:
        """Format the table as GitHub-flavoured Markdown."""
        rule = "|".join(["---", *("---:" for _ in self.header[1:])])
        lines = [f"**{self.title}**", "", _line(self.header), f"|{rule}|", *map(_line, self.rows)]
        lines += [f"\n{note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-ready mapping."""
        rows = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}

    def print(self, console: Console) -> None:
        """Print the table; columns that do not fit the console's width follow below, after the first column again."""
        for number, columns in enumerate(self._column_groups(console.width)):
            title = None if number else self.title
            part = RichTable(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
            first = max(len(row[0]) for row in (self.header, *self.rows))
            part.add_column(self.header[0], min_width=min(first, console.width // 3))
            for index in columns[1:]:
                part.add_column(self.header[index], justify="right", no_wrap=len(columns) > _PAIR, overflow="fold")
            for row in self.rows:
                part.add_row(*(row[index] for index in columns))
            console.print(part)
        for note in self.notes:
            console.print(f"  {note}", style="dim", soft_wrap=True)

    def _column_groups(self, width: int) -> list[list[int]]:
        """Return the columns of each part, all of them with the first column."""
        widths = [max(map(len, column)) + _PADDING for column in zip(self.header, *self.rows, strict=True)]
        groups, remaining = [[0]], width - widths[0] - _PADDING
        for index, needed in enumerate(widths[1:], 1):
            if needed > remaining and len(groups[-1]) > 1:
                groups.append([0])
                remaining = width - widths[0] - _PADDING
            groups[-1].append(index)
            remaining -= needed
        return groups


def score_cells(scores: Scores | None) -> tuple[str, ...]:
    """Format the ten scores and their mean with one decimal.

    Args:
        scores: None for a row of dashes.

    Returns:
        A cell for each column of `SCORE_HEADER`.
    """
    if scores is None:
        return (_NO_VALUE,) * len(SCORE_HEADER)
    values = [getattr(getattr(scores, level), name) for level in LEVELS for name in SCORE_NAMES]
    return tuple(number_cell(value) for value in (*values, scores.mean))


def score_table(evaluation: Evaluation) -> Table:
    """Make a table of all clips and of those with and without overlapping events.

    Args:
        evaluation: of one system on one split.

    Returns:
        A table with a row for each of the three.

    Source:
        Table 3 of the LEAP paper.
    """

    def row(name: str, subset: Subset) -> tuple[str, ...]:
        return (f"{name} ({subset.clips})", *score_cells(subset.scores))

    rows = (
        row("all clips", evaluation.whole),
        row("overlapping", evaluation.overlapping),
        row("non-overlapping", evaluation.non_overlapping),
    )
    notes = (
        "F-scores in percent, segment level then event level. Overlapping: clips with two or more events of one"
        " modality in some second.",
        *evaluation.notes,
    )
    return Table(f"{evaluation.source}, {evaluation.split} split", (evaluation.split, *SCORE_HEADER), rows, notes)


def class_table(evaluation: Evaluation) -> Table:
    """Make a table of event-level F-scores by class.

    Args:
        evaluation: of one system on one split.

    Returns:
        A table with a row for each class.

    Source:
        Fig. 3 of the LEAP paper.
    """
    rows = []
    for label, scores in evaluation.classes.items():
        values = [number_cell(getattr(scores.event, name)) for name in SCORE_NAMES] if scores else [_NO_VALUE] * 5
        rows.append((escape(label), *values))
    note = (
        "Event level: F-score of the class, averaged over the clips with the class in their annotations or predictions."
    )
    header = ("class", *(_SHORT[name] for name in SCORE_NAMES))
    return Table(f"{evaluation.source}, {evaluation.split} split, by class", header, tuple(rows), (note,))


def number_cell(value: float) -> str:
    """Format a score with one decimal, NaN as a dash."""
    return _NO_VALUE if math.isnan(value) else f"{value:.1f}"


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(cell.replace("|", r"\|") for cell in cells) + "|"
