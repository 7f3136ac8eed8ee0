"""The ground that plots are drawn on: bands across one time axis, text that fits, what colours mean."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...clock import format_clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, GRID, GROUND = "#22272e", "#68717d", "#d5dae0", "#f4f5f7"
WIDTH, GAP, NAME_HEIGHT = 8.0, 0.08, 0.17  # inches: of the figure, between bands, of a band's name
TEXT_SIZE, DPI = 7.5, 220

_TICK_ROOM = 0.62  # inches between marks
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)  # seconds between marks


@dataclass(frozen=True, eq=False)
class PlotBand:
    """A part of the figure across all of the time axis: `height` inches below its name, if it has one."""

    height: float
    draw: Callable[[Axes], None]
    name: str = ""
    colour: str = INK
    grid: float = 1.0  # opacity of the lines of the time axis, which would cross pictures out

    @property
    def whole_height(self) -> float:
        return self.height + GAP + (NAME_HEIGHT if self.name else 0.0)


def draw_time(axes: Axes, end: float, width: float, *, marked: bool, grid: float) -> None:
    """The marks of the time axis, their times only below the last band. grid: how opaque its lines are."""
    step = next((s for s in _STEPS if s / end * width >= _TICK_ROOM), max(_STEPS[-1], end))
    ticks = np.arange(0, end + 1e-6, step)
    axes.set_xlim(0, end)
    axes.set_xticks(
        ticks, [format_clock(float(tick), hour_digits=int(end >= 3600)) if marked else "" for tick in ticks]
    )
    axes.tick_params(length=2.5 if marked else 0, width=0.5, pad=2, color=PALE, labelcolor=PALE)
    axes.grid(axis="x", color=GRID, alpha=grid, linewidth=0.5, zorder=1)
    axes.set_axisbelow(False)
    axes.spines[:].set_visible(False)


def write(figure: Figure, left: float, bottom: float, text: str, **style: Any) -> None:
    """Text whose baseline begins at a place in inches."""
    figure.text(left / WIDTH, bottom / figure.get_figheight(), text, va="baseline", **style)


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """How wide a line of text is."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    width, _, _ = RendererAgg(1, 1, 72).get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return width / 72


def fitted(text: str, limit: float, size: float = TEXT_SIZE) -> str:
    """The text, or as much of its beginning as fits `limit` inches."""
    if text_width(text, size) <= limit:
        return text
    kept = text
    while kept and text_width(f"{kept}…", size) > limit:
        kept = kept[: min(len(kept) - 1, int(len(kept) * limit / text_width(kept, size)))]
    return f"{kept}…"


def wrapped(text: str, limit: float) -> list[str]:
    """Lines of about `limit` inches."""
    columns = int(len(text) * limit / max(limit, 1.1 * text_width(text)))  # 1.1: it is bold
    return textwrap.wrap(text, max(20, columns))
