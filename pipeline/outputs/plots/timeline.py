"""Plot of a timeline, like the figures of publications on audio-visual video parsing, as png, svg or pdf."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...clock import format_clock
from ...decode.process import DEFAULT_TIMEOUT
from ...segments import runs
from ...text import display_label, escape
from ...timeline import MODALITY_WORDS, GroundTruth, Modality, Timeline
from .figure import (
    BACKGROUND,
    GAP,
    INK,
    PALE,
    WIDTH,
    PlotBand,
    draw_time_axis,
    fit_text,
    save_figure,
    text_width,
    wrap_text,
    write_text,
)
from .media_bands import media_bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 2
# Cyan and magenta with different lightness, which colour-blind readers can distinguish, too. The tints stand for
# probability 1. Audio-visual events have a colour of their own where there are no others, in timelines of localizers.
COLOURS: dict[Modality, str] = {"audio": "#2aa7d8", "visual": "#a3195b", "audio_visual": "#37701b"}
_TINTS: dict[Modality, str] = {"audio": "#a9dcf2", "visual": "#e3a9c6", "audio_visual": "#c0dcae"}
_EVENTS: dict[Modality, str] = {"audio": "audio events", "visual": "visual events", "audio_visual": "events"}
_AMBER = "#9a5b00"

# Inches, except the title size in points.
_MARGIN, _RIGHT, _LABEL_LIMIT = 0.14, 0.34, 1.9
_HEADER, _ROW, _ROW_WITH_TRUTH, _LINE, _TICKS, _LEGEND = 0.54, 0.2, 0.27, 0.17, 0.2, 0.24
_TITLE_SIZE = 10.0

_MAX_ROWS = 60  # of a panel; with more classes, those with the most seconds are shown
MAX_BARS = 20_000  # of a plot; of more, those that are closer than a pixel or a few are drawn as one

_Spans = list[tuple[float, float]]  # onset and duration in seconds, as matplotlib expects them


@dataclass(frozen=True, eq=False)
class _Row:
    """A class in one modality."""

    label: str
    events: _Spans
    audio_visual: _Spans
    truth: _Spans
    probabilities: NDArray[np.float32] | None  # (T,)

    @property
    def seconds(self) -> float:
        """Total duration of the events and of the ground truth."""
        return sum(duration for _, duration in (*self.events, *self.truth))


def plot_timeline(
    timeline: Timeline,
    path: Path,
    *,
    media: Path | None = None,
    truth: GroundTruth | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> None:
    """Plot audio and visual events over one time axis; the audio-visual ones of a localizer in one panel.

    Every class with an event has a row of bars in the panel of its modality, with its probabilities, if the timeline
    has them, as shading behind the bars.

    Args:
        timeline: the events.
        path: the plot, written atomically; its suffix, one of `PLOT_SUFFIXES`, is the format.
        media: adds a strip of frames and the log-mel spectrogram (up to 60 s) or the waveform of this file.
        truth: adds a thinner bar below each row, rows of classes that were missed, and the agreement.
        timeout: seconds without progress after which a decoder is stopped.

    Raises:
        ValueError: the suffix is not in `PLOT_SUFFIXES`.
        MediaError: the media cannot be read.
        OutputError: the plot cannot be written.
    """
    save_figure(path, lambda: _draw(timeline, media, truth, timeout))


def _draw(timeline: Timeline, media: Path | None, truth: GroundTruth | None, timeout: float) -> Figure:
    from matplotlib.figure import Figure

    end = max([timeline.segments, timeline.media["duration"], *(event.offset for event in timeline.events)])
    start = timeline.parsed[0]
    rows: dict[Modality, list[_Row]] = {modality: _rows(timeline, truth, modality) for modality in timeline.lanes}
    panels: dict[Modality, list[_Row]] = {name: _join_bars(_longest(panel), end) for name, panel in rows.items()}
    labels = [fit_text(row.label, _LABEL_LIMIT) for panel in panels.values() for row in panel]
    left = _MARGIN + max(text_width(label) for label in (*labels, "waveform")) + 0.08
    width = WIDTH - left - _RIGHT
    bands = [] if media is None else list(media_bands(media, end, width, timeout, start=start))
    for modality, panel in panels.items():
        bands.append(_panel(modality, panel, timeline.segments, truth, of=len(rows[modality])))
    footer = [] if truth is None else wrap_text(escape(truth.agreement), width)
    height = _HEADER + sum(band.total_height for band in bands) + _TICKS + _LEGEND + _LINE * len(footer) + _MARGIN
    figure = Figure((WIDTH, height), facecolor="white")
    _write_header(figure, timeline)
    top = height - _HEADER
    for number, band in enumerate(bands, 1):
        top -= band.total_height - GAP
        axes = figure.add_axes((left / WIDTH, top / height, width / WIDTH, band.height / height))
        if band.name:
            write_text(figure, left, top + band.height + 0.045, band.name, color=band.colour, weight="bold", size=8)
        band.draw(axes)
        draw_time_axis(axes, end, width, start=start, labelled=number == len(bands), grid=band.grid)
        top -= GAP
    _draw_legend(figure, left, top - _TICKS, panels)
    for number, line in enumerate(footer, 1):
        write_text(figure, left, top - _TICKS - _LEGEND - _LINE * number + 0.06, line, weight="bold")
    return figure


def _rows(timeline: Timeline, truth: GroundTruth | None, modality: Modality) -> list[_Row]:
    """Return the rows of a panel in the order of the labels; audio-visual events belong to all panels."""
    event_spans: dict[str, _Spans] = {}
    audio_visual_spans: dict[str, _Spans] = {}
    for event in timeline.events:
        if event.modality in {modality, "audio_visual"}:
            event_spans.setdefault(event.label, []).append((event.onset, event.duration))
        if event.modality == "audio_visual" != modality:
            audio_visual_spans.setdefault(event.label, []).append((event.onset, event.duration))
    tables = {} if timeline.probabilities is None else timeline.probabilities.arrays()
    table = tables.get("audio" if modality == "audio_visual" else modality)  # of localizers they are equal
    true_labels = None if truth is None else truth.labels.of(modality)
    rows = []
    for index, label in enumerate(timeline.labels):
        true_runs = [] if true_labels is None else runs(true_labels[:, index])
        true_spans = [(float(start), float(stop - start)) for start, stop in true_runs]
        if label in event_spans or true_spans:
            probabilities = None if table is None or index >= table.shape[1] else table[:, index]
            spans = event_spans.get(label, []), audio_visual_spans.get(label, [])
            rows.append(_Row(display_label(label), *spans, true_spans, probabilities))
    return rows


def _longest(rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows that a panel has place for: those with the most seconds, in their order."""
    shortest = sorted(range(len(rows)), key=lambda index: rows[index].seconds)[: max(0, len(rows) - _MAX_ROWS)]
    left_out = set(shortest)
    return [row for index, row in enumerate(rows) if index not in left_out]


def _join_bars(rows: Sequence[_Row], end: float) -> list[_Row]:
    """Join bars that cannot be told apart where a panel has too many of them. end: of the time axis, in seconds."""
    lists = 3 * len(rows)
    if sum(len(row.events) + len(row.audio_visual) + len(row.truth) for row in rows) <= MAX_BARS / _MOST_PANELS:
        return list(rows)
    gap = end * lists * _MOST_PANELS / MAX_BARS  # then each list has at most MAX_BARS / lists / panels
    return [
        replace(
            row,
            events=_join(row.events, gap),
            audio_visual=_join(row.audio_visual, gap),
            truth=_join(row.truth, gap),
        )
        for row in rows
    ]


def _join(spans: _Spans, gap: float) -> _Spans:
    """Join intervals that begin less than `gap` seconds after the last one began, or before it ends."""
    joined: _Spans = []
    for onset, duration in sorted(spans):
        start, length = joined[-1] if joined else (-math.inf, 0.0)
        if onset < max(start + gap, start + length):
            joined[-1] = start, max(length, onset + duration - start)
        else:
            joined.append((onset, duration))
    return joined


def _panel(modality: Modality, shown: Sequence[_Row], segments: int, truth: GroundTruth | None, *, of: int) -> PlotBand:
    """Build the panel of a modality with its rows from top to bottom, or a text where it has none."""
    name = MODALITY_WORDS[modality]
    if of > len(shown):
        name += f" (the {_MAX_ROWS} classes with the most seconds of {of})"

    def draw(axes: Axes) -> None:
        axes.set_ylim(max(1, len(shown)), 0)
        axes.set_yticks([])
        if not shown:
            style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": PALE, "style": "italic"}
            axes.text(0.5, 0.5, f"no {_EVENTS[modality]}", transform=axes.transAxes, **style)
        _shade(axes, [row.probabilities for row in shown], segments, _TINTS[modality])
        for position, row in enumerate(shown):
            _draw_row(axes, position, row, COLOURS[modality], with_truth=truth is not None)

    height = (_ROW if truth is None else _ROW_WITH_TRUTH) * max(1, len(shown))
    return PlotBand(height, draw, name, COLOURS[modality])


def _shade(axes: Axes, rows: Sequence[NDArray[np.float32] | None], segments: int, tint: str) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    if any(row is not None for row in rows):  # classes that people added have no probabilities
        probabilities = [np.zeros(segments, np.float32) if row is None else row for row in rows]
        shades = LinearSegmentedColormap.from_list("probabilities", [BACKGROUND, tint])
        extent = (0, segments, len(probabilities), 0)
        axes.imshow(np.stack(probabilities), cmap=shades, vmin=0, vmax=1, aspect="auto", extent=extent, zorder=0)


def _draw_row(axes: Axes, position: int, row: _Row, colour: str, *, with_truth: bool) -> None:
    middle, thickness = (position + 0.37, 0.42) if with_truth else (position + 0.5, 0.5)
    # The edge keeps an event of one second visible in a plot of an hour.
    solid = {"linewidth": 0.5, "zorder": 3}
    axes.broken_barh(row.events, (middle - thickness / 2, thickness), facecolor=colour, edgecolor=colour, **solid)
    core = thickness * 0.28
    axes.broken_barh(row.audio_visual, (middle - core / 2, core), facecolor="white", edgecolor="none", zorder=4)
    axes.broken_barh(row.truth, (position + 0.7, 0.16), facecolor=INK, edgecolor=INK, **solid)
    axes.axhline(position, color="white", linewidth=1.5, zorder=2)
    across = axes.get_yaxis_transform()
    label = fit_text(row.label, _LABEL_LIMIT)
    axes.annotate(
        label,
        (0, position + 0.5),
        (-4, 0),
        xycoords=across,
        textcoords="offset points",
        ha="right",
        va="center_baseline",
    )


def _write_header(figure: Figure, timeline: Timeline) -> None:
    top = figure.get_figheight()
    name = escape(PurePath(str(timeline.media.get("path", "video"))).name)
    name = fit_text(name, (WIDTH - 2 * _MARGIN) / 1.1, _TITLE_SIZE)  # bold is 1.1 times as wide
    write_text(figure, _MARGIN, top - 0.25, name, size=_TITLE_SIZE, weight="bold")
    summary = "no events"
    if timeline.events:
        counts = [
            (sum(event.modality == m for event in timeline.events), MODALITY_WORDS[m]) for m in timeline.modalities
        ]
        summary = ", ".join(f"{count} {word}" for count, word in counts)
    duration = float(timeline.media["duration"])
    length = f"{duration:.1f} s" if duration < 60 else format_clock(round(duration), hour_digits=int(duration >= 3600))
    if timeline.parsed[0]:
        length = " to ".join(map(format_clock, timeline.parsed))
    write_text(figure, _MARGIN, top - 0.43, f"{length}: {summary}", color=PALE)
    if count := len(timeline.warnings):
        text = f"{count} warning{'s' if count > 1 else ''}"
        write_text(figure, WIDTH - _RIGHT, top - 0.43, text, color=_AMBER, ha="right")


def _draw_legend(figure: Figure, left: float, top: float, panels: Mapping[Modality, Sequence[_Row]]) -> None:
    """Draw a legend of the marks that the rows contain. left, top: inches."""
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rows = [row for panel in panels.values() for row in panel]
    bars = tuple(Patch(color=COLOURS[modality]) for modality in panels)
    core = Line2D([], [], color="white", linewidth=1.4)
    entries: list[tuple[str, Any, int | None]] = []  # text, handles, number of parts that the handles share
    if any(row.events for row in rows):
        entries.append(("event", bars, None))
    if any(row.audio_visual for row in rows):
        entries.append(("both at once", (*bars, core, core), 2))
    if any(row.truth for row in rows):
        entries.append(("truth", Line2D([], [], color=INK, linewidth=2.4, solid_capstyle="butt"), None))
    if any(row.probabilities is not None for row in rows):
        entries.append(("probability", tuple(Patch(color=_TINTS[modality]) for modality in panels), None))
    handlers = {handle: HandlerTuple(ndivide=parts, pad=0) for _, handle, parts in entries if isinstance(handle, tuple)}
    figure.legend(
        [handle for _, handle, _ in entries], [text for text, _, _ in entries], handler_map=handlers, ncols=4,
        loc="upper left", bbox_to_anchor=(left / WIDTH, top / figure.get_figheight()), borderaxespad=0, borderpad=0,
        frameon=False, handlelength=2.2, handleheight=0.6, handletextpad=0.6, columnspacing=1.8, labelcolor=PALE,
    )  # fmt: skip
