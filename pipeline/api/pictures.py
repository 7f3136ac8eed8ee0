"""Plots of timelines for programs and notebooks: the code behind `Timeline.plot`."""

from __future__ import annotations

import tempfile
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import make_folder_of
from ..outputs.plots.timeline import COLOURS, plot_timeline
from ..presented import Picture
from ..text import display_label
from ..timeline import MODALITIES, MODALITY_WORDS, Modality, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_ROWS = 60  # of axes; of more classes, the first ones are drawn
_MAX_NAME = 40  # characters of a class name
_BAR = 0.7  # height of a bar, of a row


def plot(
    timeline: Timeline, path: str | PathLike[str] | None, *, ax: Axes | None, media: str | PathLike[str] | None
) -> Picture | Axes:
    """Plot a timeline; arguments as for `Timeline.plot`."""
    film = None if media is None else Path(media)
    if ax is not None:
        if path is not None or media is not None:
            raise ValueError("ax is drawn on as it is: it goes with neither path nor media")
        return draw(timeline, ax)
    picture = Picture(partial(_render, timeline, film))
    if path is None:
        _ = picture.png  # drawn now: what is wrong with the media is an error of this call
        return picture
    make_folder_of(Path(path))
    plot_timeline(timeline, Path(path), media=film)
    return picture


def _render(timeline: Timeline, media: Path | None) -> bytes:
    with tempfile.TemporaryDirectory(prefix="avvp-plot-") as folder:
        path = Path(folder) / "timeline.png"
        plot_timeline(timeline, path, media=media)
        return path.read_bytes()


def draw(timeline: Timeline, ax: Axes) -> Axes:
    """Draw the events on axes, one row for each modality and class that has any.

    Args:
        timeline: the events; audio-visual ones are in the rows of both modalities, those of a localizer in their own.
        ax: axes of any size; their limits and ticks are set.

    Returns:
        The axes.
    """
    spans: dict[tuple[Modality, str], list[tuple[float, float]]] = {}
    for event in timeline.events:
        for modality in timeline.lanes if event.modality == "audio_visual" else (event.modality,):
            spans.setdefault((modality, event.label), []).append((event.onset, event.duration))
    order = {label: place for place, label in enumerate(timeline.labels)}
    rows = sorted(spans, key=lambda row: (MODALITIES.index(row[0]), order[row[1]]))[:_MAX_ROWS]
    for place, (modality, label) in enumerate(rows):
        colour = COLOURS[modality]
        ax.broken_barh(spans[modality, label], (place - _BAR / 2, _BAR), facecolor=colour, edgecolor=colour)
    names = [f"{display_label(label)[:_MAX_NAME]} ({MODALITY_WORDS[modality]})" for modality, label in rows]
    ax.set_yticks(range(len(rows)), names, parse_math=False)
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    ax.set_xlim(0, max(timeline.length, 1))
    ax.set_xlabel("seconds")
    return ax
