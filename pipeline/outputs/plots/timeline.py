"""A timeline on paper: the figure of publications on audio-visual video parsing, as png, svg or pdf."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...clock import format_clock
from ...decode.process import DEFAULT_TIMEOUT
from ...files import write_atomic
from ...segments import runs
from ...text import escape
from ...timeline import GroundTruth, Timeline
from .figure import (
    DPI,
    GAP,
    GROUND,
    INK,
    PALE,
    TEXT_SIZE,
    WIDTH,
    PlotBand,
    draw_time,
    fitted,
    text_width,
    wrapped,
    write,
)
from .media_bands import media_bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

_Sense = Literal["audio", "visual"]
_NAMES: dict[_Sense, str] = {"audio": "heard", "visual": "seen"}
# Cyan and magenta, far enough apart in lightness that the colour-blind tell them apart, too. The tints are those of
# the probability 1.
_COLOURS: dict[_Sense, str] = {"audio": "#2aa7d8", "visual": "#a3195b"}
_TINTS: dict[_Sense, str] = {"audio": "#a9dcf2", "visual": "#e3a9c6"}
_AMBER = "#9a5b00"
_FONTS = ("Arial", "Liberation Sans", "DejaVu Sans")  # the last comes with matplotlib
_UNDATED = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

# Inches, but for the size of the title.
_MARGIN, _RIGHT, _LABEL_LIMIT = 0.14, 0.34, 1.9
_HEAD, _ROW, _ROW_WITH_TRUTH, _LINE, _TICKS, _LEGEND = 0.54, 0.2, 0.27, 0.17, 0.2, 0.24
_TITLE_SIZE = 10.0

_MAX_ROWS = 60  # of a panel; of more classes those with the most seconds are shown

_Spans = list[tuple[float, float]]  # onset and length in seconds, as matplotlib takes them


@dataclass(frozen=True, eq=False)
class _Row:
    """A class in one modality. probabilities: (T,), None where only events are known."""

    label: str
    found: _Spans
    both: _Spans
    true: _Spans
    probabilities: NDArray[np.float32] | None

    @property
    def seconds(self) -> float:
        return sum(length for _, length in (*self.found, *self.true))


def plot_timeline(
    timeline: Timeline,
    path: Path,
    *,
    media: Path | None = None,
    truth: GroundTruth | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> None:
    """Draw what is heard and seen over one time axis and write it, whole or not at all, in the form of the suffix.

    Every class with an event has a row of bars in the panel of its modality, with its probabilities, where they are
    known, as shading behind them. media: adds a strip of pictures and the log-mel (up to 60 s) or the waveform.
    truth: adds a thinner bar below each, rows for what was missed, and the agreement. timeout: seconds without
    progress after which a decoder is stopped.

    Raises ValueError for a suffix that is not in `PLOT_SUFFIXES`, MediaError for media that cannot be read,
    OutputError for what cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in PLOT_SUFFIXES:
        raise ValueError(f"unknown form of a plot {path.suffix!r}; known: {', '.join(PLOT_SUFFIXES)}")
    from matplotlib import font_manager, style

    installed = set(font_manager.get_font_names())
    look = {
        "font.family": [font for font in _FONTS if font in installed],
        "font.size": TEXT_SIZE,
        "text.color": INK,
        "text.parse_math": False,  # a file or a class may be called "$x$"
        "axes.facecolor": GROUND,
        "svg.fonttype": "none",
        "svg.hashsalt": "avvp",
        "pdf.fonttype": 42,  # publishers refuse the default, Type 3
    }
    content = io.BytesIO()
    with style.context(look, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")  # it is shown as a box
        figure = _draw(timeline, media, truth, timeout)
        figure.savefig(content, format=kind[1:], dpi=DPI, metadata=_UNDATED[kind])
    write_atomic(path, content.getvalue())


def _draw(timeline: Timeline, media: Path | None, truth: GroundTruth | None, timeout: float) -> Figure:
    from matplotlib.figure import Figure

    end = max([timeline.segments, timeline.media["duration"], *(event.offset for event in timeline.events)])
    panels: dict[_Sense, list[_Row]] = {sense: _rows(timeline, truth, sense) for sense in _NAMES}
    labels = [fitted(row.label, _LABEL_LIMIT) for rows in panels.values() for row in rows]
    left = _MARGIN + max(text_width(label) for label in (*labels, "waveform")) + 0.08
    width = WIDTH - left - _RIGHT
    bands = [] if media is None else list(media_bands(media, end, width, timeout))
    bands += [_panel(sense, rows, timeline.segments, truth) for sense, rows in panels.items()]
    footer = [] if truth is None else wrapped(escape(truth.agreement), width)
    height = _HEAD + sum(band.whole_height for band in bands) + _TICKS + _LEGEND + _LINE * len(footer) + _MARGIN
    figure = Figure((WIDTH, height), facecolor="white")
    _write_head(figure, timeline)
    top = height - _HEAD
    for number, band in enumerate(bands, 1):
        top -= band.whole_height - GAP
        axes = figure.add_axes((left / WIDTH, top / height, width / WIDTH, band.height / height))
        if band.name:
            write(figure, left, top + band.height + 0.045, band.name, color=band.colour, weight="bold", size=8)
        band.draw(axes)
        draw_time(axes, end, width, marked=number == len(bands), grid=band.grid)
        top -= GAP
    _draw_legend(figure, left, top - _TICKS, [*panels["audio"], *panels["visual"]])
    for number, line in enumerate(footer, 1):
        write(figure, left, top - _TICKS - _LEGEND - _LINE * number + 0.06, line, weight="bold")
    return figure


def _rows(timeline: Timeline, truth: GroundTruth | None, sense: _Sense) -> list[_Row]:
    """In the order of the labels. What is heard and seen at once counts in both modalities."""
    found: dict[str, _Spans] = {}
    both: dict[str, _Spans] = {}
    for event in timeline.events:
        if event.modality in {sense, "audio_visual"}:
            found.setdefault(event.label, []).append((event.onset, event.duration))
        if event.modality == "audio_visual":
            both.setdefault(event.label, []).append((event.onset, event.duration))
    known = None if timeline.probabilities is None else timeline.probabilities.arrays()[sense]
    table = None if truth is None else truth.labels.of(sense)
    rows = []
    for index, label in enumerate(timeline.labels):
        spans = [] if table is None else runs(table[:, index])
        true = [(float(start), float(stop - start)) for start, stop in spans]
        if label in found or true:
            probabilities = None if known is None else known[:, index]
            rows.append(_Row(escape(label), found.get(label, []), both.get(label, []), true, probabilities))
    return rows


def _panel(sense: _Sense, rows: Sequence[_Row], segments: int, truth: GroundTruth | None) -> PlotBand:
    """The rows of a modality, from top to bottom, or words where it has none."""
    shown = list(rows)
    name = _NAMES[sense]
    if len(shown) > _MAX_ROWS:
        least = sorted(shown, key=lambda row: row.seconds)[: len(shown) - _MAX_ROWS]
        shown = [row for row in shown if row not in least]
        name += f" (the {_MAX_ROWS} classes with the most seconds of {len(rows)})"

    def draw(axes: Axes) -> None:
        axes.set_ylim(max(1, len(shown)), 0)
        axes.set_yticks([])
        if not shown:
            style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": PALE, "style": "italic"}
            axes.text(0.5, 0.5, f"nothing {_NAMES[sense]}", transform=axes.transAxes, **style)
        _shade(axes, [row.probabilities for row in shown], segments, _TINTS[sense])
        for place, row in enumerate(shown):
            _draw_row(axes, place, row, _COLOURS[sense], with_truth=truth is not None)

    height = (_ROW if truth is None else _ROW_WITH_TRUTH) * max(1, len(shown))
    return PlotBand(height, draw, name, _COLOURS[sense])


def _shade(axes: Axes, rows: Sequence[NDArray[np.float32] | None], segments: int, tint: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    known = [row for row in rows if row is not None]
    if known:
        shades = LinearSegmentedColormap.from_list("probabilities", [GROUND, tint])
        where = (0, segments, len(known), 0)
        axes.imshow(np.stack(known), cmap=shades, vmin=0, vmax=1, aspect="auto", extent=where, zorder=0)


def _draw_row(axes: Axes, place: int, row: _Row, colour: str, *, with_truth: bool) -> None:
    middle, thickness = (place + 0.37, 0.42) if with_truth else (place + 0.5, 0.5)
    # The edge keeps a second visible where a whole hour is shown.
    solid = {"linewidth": 0.5, "zorder": 3}
    axes.broken_barh(row.found, (middle - thickness / 2, thickness), facecolor=colour, edgecolor=colour, **solid)
    core = thickness * 0.28
    axes.broken_barh(row.both, (middle - core / 2, core), facecolor="white", edgecolor="none", zorder=4)
    axes.broken_barh(row.true, (place + 0.7, 0.16), facecolor=INK, edgecolor=INK, **solid)
    axes.axhline(place, color="white", linewidth=1.5, zorder=2)
    across = axes.get_yaxis_transform()
    label = fitted(row.label, _LABEL_LIMIT)
    axes.annotate(
        label, (0, place + 0.5), (-4, 0), xycoords=across, textcoords="offset points", ha="right", va="center_baseline"
    )


def _write_head(figure: Figure, timeline: Timeline) -> None:
    top = figure.get_figheight()
    name = escape(PurePath(str(timeline.media.get("path", "video"))).name)
    name = fitted(name, (WIDTH - 2 * _MARGIN) / 1.1, _TITLE_SIZE)  # 1.1: it is bold
    write(figure, _MARGIN, top - 0.25, name, size=_TITLE_SIZE, weight="bold")
    counts = {m: sum(event.modality == m for event in timeline.events) for m in ("audio", "visual", "audio_visual")}
    words = "no events"
    if timeline.events:
        words = f"{counts['audio']} heard, {counts['visual']} seen, {counts['audio_visual']} both at once"
    duration = float(timeline.media["duration"])
    length = f"{duration:.1f} s" if duration < 60 else format_clock(round(duration), hour_digits=int(duration >= 3600))
    write(figure, _MARGIN, top - 0.43, f"{length}: {words}", color=PALE)
    if count := len(timeline.warnings):
        text = f"{count} warning{'s' if count > 1 else ''}"
        write(figure, WIDTH - _RIGHT, top - 0.43, text, color=_AMBER, ha="right")


def _draw_legend(figure: Figure, left: float, top: float, rows: Sequence[_Row]) -> None:
    """What the marks mean that there are. left, top: inches."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bars = tuple(Patch(color=colour) for colour in _COLOURS.values())
    core = Line2D([], [], color="white", linewidth=1.4)
    entries: list[tuple[str, Any, int | None]] = []  # words, a mark or several, into how many parts their room is cut
    if any(row.found for row in rows):
        entries.append(("event", bars, None))
    if any(row.both for row in rows):
        entries.append(("heard and seen at once", (*bars, core, core), 2))
    if any(row.true for row in rows):
        entries.append(("annotated", Line2D([], [], color=INK, linewidth=2.4, solid_capstyle="butt"), None))
    if any(row.probabilities is not None for row in rows):
        entries.append(("probability", tuple(Patch(color=tint) for tint in _TINTS.values()), None))
    handlers = {mark: HandlerTuple(ndivide=parts, pad=0) for _, mark, parts in entries if isinstance(mark, tuple)}
    figure.legend(
        [mark for _, mark, _ in entries], [words for words, _, _ in entries], handler_map=handlers, ncols=4,
        loc="upper left", bbox_to_anchor=(left / WIDTH, top / figure.get_figheight()), borderaxespad=0, borderpad=0,
        frameon=False, handlelength=2.2, handleheight=0.6, handletextpad=0.6, columnspacing=1.8, labelcolor=PALE,
    )  # fmt: skip
