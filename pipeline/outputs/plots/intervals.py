"""Plot of scores of several systems with their intervals, as png, svg or pdf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .figure import GRID, INK, PALE, WIDTH, fit_text, save_figure, text_width, wrap_text, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 200  # of a panel; a picture of more cannot be read
_COLOURS = ("#2aa7d8", "#a3195b", "#37701b", "#9a5b00", "#5b4ea3", "#22272e")  # of systems, in turn
_MARGIN, _ROW, _TITLE, _AXIS, _GAP, _LINE, _LABEL_LIMIT = 0.14, 0.2, 0.3, 0.28, 0.14, 0.17, 1.9  # inches


class IntervalMark(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalPanel:
    """One part of the figure.

    Attributes:
        title: above it.
        systems: numbers of the systems, which are their colours.
        rows: label -> a mark for each of the systems, None where there is no value.
        zero: draw a line at 0, as for differences.
    """

    title: str
    systems: Sequence[int]
    rows: Sequence[tuple[str, Sequence[IntervalMark | None]]]
    zero: bool = False


def plot_intervals(panels: Sequence[IntervalPanel], names: Sequence[str], notes: Sequence[str], path: Path) -> None:
    """Plot panels below each other, with a row for each score and a mark with its interval for each system.

    Args:
        panels: at least one; of a panel with more than `MAX_ROWS` rows the first are drawn, and the title says so.
        names: of all systems, for the legend.
        notes: lines below the panels.
        path: the plot, written atomically; its suffix, one of `PLOT_SUFFIXES`, is the format.

    Raises:
        ValueError: the suffix is not in `PLOT_SUFFIXES`.
        OutputError: the plot cannot be written.
    """
    save_figure(path, lambda: _draw(panels, names, notes))


def _draw(panels: Sequence[IntervalPanel], names: Sequence[str], notes: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    labels = [fit_text(label, _LABEL_LIMIT) for panel in panels for label, _ in panel.rows[:MAX_ROWS]]
    left = _MARGIN + max(map(text_width, labels)) + 0.08
    width = WIDTH - left - _MARGIN
    lines = [line for note in notes for line in wrap_text(note, WIDTH - 2 * _MARGIN)]
    heights = [_row_height(panel) * len(panel.rows[:MAX_ROWS]) for panel in panels]
    legend = _LINE * len(names)
    height = sum(heights) + (_TITLE + _AXIS + _GAP) * len(panels) + legend + _LINE * len(lines) + 2 * _MARGIN
    figure = Figure((WIDTH, height), facecolor="white")
    top = height - _MARGIN
    for number, name in enumerate(names):
        top -= _LINE
        colour = _COLOURS[number % len(_COLOURS)]
        write_text(figure, left, top + 0.04, fit_text(name, width / 1.1), color=colour, weight="bold")
    for panel, inches in zip(panels, heights, strict=True):
        top -= _TITLE
        title = panel.title
        if len(panel.rows) > MAX_ROWS:
            title += f" (the first {MAX_ROWS} of {len(panel.rows)})"
        write_text(figure, left, top + 0.07, fit_text(title, width / 1.1, 8), weight="bold", size=8)
        top -= inches
        _draw_panel(figure.add_axes((left / WIDTH, top / height, width / WIDTH, inches / height)), panel)
        top -= _AXIS + _GAP
    for number, line in enumerate(lines, 1):
        write_text(figure, _MARGIN, top - _LINE * number + 0.06, line, color=PALE)
    return figure


def _row_height(panel: IntervalPanel) -> float:
    return max(_ROW, 0.09 * (len(panel.systems) + 1))


def _draw_panel(axes: Axes, panel: IntervalPanel) -> None:
    rows = panel.rows[:MAX_ROWS]
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([row + 0.5 for row in range(len(rows))], [fit_text(label, _LABEL_LIMIT) for label, _ in rows])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", length=2.5, width=0.5, pad=2, color=PALE, labelcolor=PALE)
    axes.grid(axis="x", color=GRID, linewidth=0.5, zorder=1)
    axes.spines[:].set_visible(False)
    for row in range(1, len(rows)):
        axes.axhline(row, color="white", linewidth=1.5, zorder=2)
    if panel.zero:
        axes.axvline(0, color=PALE, linewidth=0.8, zorder=2)
    step = 1 / (len(panel.systems) + 1)
    for position, system in enumerate(panel.systems, 1):
        colour = _COLOURS[system % len(_COLOURS)]
        for row, (_, marks) in enumerate(rows):
            if mark := marks[position - 1]:
                place = row + position * step
                axes.plot([mark.low, mark.high], [place, place], color=colour, linewidth=1.2, zorder=3)
                axes.plot([mark.value], [place], color=colour, marker="o", markersize=3, zorder=4)
