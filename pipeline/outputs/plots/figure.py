"""Shared layout of plots: time axis, bands, text fitting, colours."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...clock import format_clock
from ...files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, GRID, BACKGROUND = "#22272e", "#68717d", "#d5dae0", "#f4f5f7"
WIDTH, GAP, NAME_HEIGHT = 8.0, 0.08, 0.17  # inches: of the figure, between bands, of a band's name
TEXT_SIZE, DPI = 7.5, 220
PLOT_SUFFIXES = (".png", ".svg", ".pdf")

_FONTS = ("Arial", "Liberation Sans", "DejaVu Sans")  # the last comes with matplotlib
_METADATA_WITHOUT_DATE = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_TICK_DISTANCE = 0.62  # inches between ticks, at least
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)  # seconds between ticks


@dataclass(frozen=True, eq=False)
class PlotBand:
    """A horizontal part of the figure that spans the time axis."""

    height: float  # inches, without the name
    draw: Callable[[Axes], None]
    name: str = ""  # written above the band, if not empty
    colour: str = INK  # of the name
    grid: float = 1.0  # opacity of the grid lines; 0 over frames, which they would cross out

    @property
    def total_height(self) -> float:
        """Height in inches with the name and the gap below."""
        return self.height + GAP + (NAME_HEIGHT if self.name else 0.0)


def save_figure(path: Path, draw: Callable[[], Figure]) -> None:
    """Draw a figure in the style of all plots, and write it.

    Args:
        path: the plot, written atomically; its suffix, one of `PLOT_SUFFIXES`, is the format.
        draw: makes the figure.

    Raises:
        ValueError: the suffix is not in `PLOT_SUFFIXES`.
        OutputError: the plot cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in PLOT_SUFFIXES:
        raise ValueError(f"unknown plot format {path.suffix!r}; known: {', '.join(PLOT_SUFFIXES)}")
    from matplotlib import font_manager, style

    installed = set(font_manager.get_font_names())
    style_settings = {
        "font.family": [font for font in _FONTS if font in installed],
        "font.size": TEXT_SIZE,
        "text.color": INK,
        "text.parse_math": False,  # the name of a file or a class may contain "$x$"
        "axes.facecolor": BACKGROUND,
        "svg.fonttype": "none",
        "svg.hashsalt": "avvp",
        "pdf.fonttype": 42,  # publishers reject the default, Type 3
    }
    content = io.BytesIO()
    with style.context(style_settings, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")  # the glyph is drawn as a box
        draw().savefig(content, format=suffix[1:], dpi=DPI, metadata=_METADATA_WITHOUT_DATE[suffix])
    write_atomic(path, content.getvalue())


def draw_time_axis(axes: Axes, end: float, width: float, *, start: float = 0.0, labelled: bool, grid: float) -> None:
    """Draw ticks, grid lines and limits of the time axis.

    Args:
        axes: of one band.
        end: of the time axis, seconds.
        width: of the time axis, inches.
        start: of the time axis, seconds.
        labelled: write the times; only below the last band.
        grid: opacity of the grid lines.
    """
    length = end - start
    step = next((s for s in _STEPS if s / length * width >= _TICK_DISTANCE), max(_STEPS[-1], length))
    ticks = np.arange(start, end + 1e-6, step)
    axes.set_xlim(start, end)
    axes.set_xticks(
        ticks, [format_clock(float(tick), hour_digits=int(end >= 3600)) if labelled else "" for tick in ticks]
    )
    axes.tick_params(length=2.5 if labelled else 0, width=0.5, pad=2, color=PALE, labelcolor=PALE)
    axes.grid(axis="x", color=GRID, alpha=grid, linewidth=0.5, zorder=1)
    axes.set_axisbelow(False)
    axes.spines[:].set_visible(False)


def write_text(figure: Figure, left: float, bottom: float, text: str, **style: Any) -> None:
    """Write text on the figure.

    Args:
        figure: `WIDTH` inches wide.
        left: start of the text, inches from the left edge of the figure.
        bottom: baseline, inches from the bottom of the figure.
        text: one line.
        style: properties of matplotlib's `Text`.
    """
    figure.text(left / WIDTH, bottom / figure.get_figheight(), text, va="baseline", **style)


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """Return the width of a line of text in inches; size in points."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    width, _, _ = RendererAgg(1, 1, 72).get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return width / 72


def fit_text(text: str, limit: float, size: float = TEXT_SIZE) -> str:
    """Shorten a line of text with an ellipsis to at most `limit` inches; size in points."""
    if text_width(text, size) <= limit:
        return text
    kept = text
    while kept and text_width(f"{kept}…", size) > limit:
        kept = kept[: min(len(kept) - 1, int(len(kept) * limit / text_width(kept, size)))]
    return f"{kept}…"


def wrap_text(text: str, limit: float) -> list[str]:
    """Wrap bold text into lines of about `limit` inches."""
    columns = int(len(text) * limit / max(limit, 1.1 * text_width(text)))  # bold is 1.1 times as wide
    return textwrap.wrap(text, max(20, columns))
