"""Tables of scores, for the terminal and for a page."""

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
_NOTHING = "-"
_PADDING = 3  # spaces between columns


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; every column but the first holds numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """A table as GitHub reads it."""
        rule = "|".join(["---", *("---:" for _ in self.header[1:])])
        lines = [f"**{self.title}**", "", _line(self.header), f"|{rule}|", *map(_line, self.rows)]
        lines += [f"\n{note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready mapping."""
        rows = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": list(self.notes)}

    def print(self, console: Console) -> None:
        """For the eye, in a terminal: what is too wide for it goes below, under the same first column."""
        for number, columns in enumerate(self._fitting(console.width)):
            title = None if number else self.title
            shown = RichTable(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
            for index in columns:
                shown.add_column(self.header[index], justify="right" if index else "left", no_wrap=index > 0)
            for row in self.rows:
                shown.add_row(*(row[index] for index in columns))
            console.print(shown)
        for note in self.notes:
            console.print(f"  {note}", style="dim", soft_wrap=True)

    def _fitting(self, width: int) -> list[list[int]]:
        """The columns of each part, the first one in all of them."""
        widths = [max(map(len, column)) + _PADDING for column in zip(self.header, *self.rows, strict=True)]
        parts, room = [[0]], width - widths[0] - _PADDING
        for index, needed in enumerate(widths[1:], 1):
            if needed > room and len(parts[-1]) > 1:
                parts.append([0])
                room = width - widths[0] - _PADDING
            parts[-1].append(index)
            room -= needed
        return parts


def score_cells(scores: Scores | None) -> tuple[str, ...]:
    """The ten scores and their mean, one decimal, as papers print them."""
    if scores is None:
        return (_NOTHING,) * len(SCORE_HEADER)
    values = [getattr(getattr(scores, level), name) for level in LEVELS for name in SCORE_NAMES]
    return tuple(_number(value) for value in (*values, scores.mean))


def score_table(evaluation: Evaluation) -> Table:
    """All clips, and those with and without overlapping events (paper, Table 3)."""

    def row(name: str, subset: Subset) -> tuple[str, ...]:
        return (f"{name} ({subset.clips})", *score_cells(subset.scores))

    rows = (
        row("all clips", evaluation.whole),
        row("overlapping", evaluation.overlapping),
        row("non-overlapping", evaluation.non_overlapping),
    )
    notes = (
        "F-scores in percent, segment level then event level. Overlapping: some second has two or more events of one"
        " modality.",
        *evaluation.notes,
    )
    return Table(f"{evaluation.source}, {evaluation.split} split", (evaluation.split, *SCORE_HEADER), rows, notes)


def class_table(evaluation: Evaluation) -> Table:
    """Each class alone, event level (paper, Fig. 3)."""
    rows = []
    for label, scores in evaluation.classes.items():
        values = [_number(getattr(scores.event, name)) for name in SCORE_NAMES] if scores else [_NOTHING] * 5
        rows.append((escape(label), *values))
    note = "Event level: F of the class in each clip that has it in truth or prediction, averaged over those clips."
    header = ("class", *(_SHORT[name] for name in SCORE_NAMES))
    return Table(f"{evaluation.source}, {evaluation.split} split, by class", header, tuple(rows), (note,))


def _number(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.1f}"


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(cell.replace("|", r"\|") for cell in cells) + "|"
