"""Timelines in notebooks: a small page without programs, fonts or addresses. Text of strangers is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html

from ..clock import format_clock
from ..text import display_label, escape
from ..timeline import MODALITIES, MODALITY_WORDS, Event, Modality, Timeline

MAX_ROWS = 40  # classes that are drawn; of more, the first ones
MAX_BARS = 2_000  # of a drawing; of more, the first ones
MAX_WARNINGS = 5
_MAX_NAME = 60  # characters of a name
_COLOURS: dict[Modality, str] = {"audio": "#2aa7d8", "visual": "#a3195b", "audio_visual": "#37701b"}
_ROW, _LEFT, _WIDTH = 16, 190, 520  # pixels: height of a row, width of the names and of the time axis


def timeline_html(timeline: Timeline) -> str:
    """Draw a timeline as HTML with an SVG picture.

    Args:
        timeline: the events.

    Returns:
        A fragment of at most some 100 kB.
    """
    counts = (f"{sum(e.modality == m for e in timeline.events)} {MODALITY_WORDS[m]}" for m in timeline.modalities)
    title = f"<b>{_text(timeline.name)}</b>: {timeline.media['duration']:.1f} s, {', '.join(counts)}"
    warnings = [f'<div style="color:#9a5b00">{_text(w, 500)}</div>' for w in timeline.warnings[:MAX_WARNINGS]]
    if (hidden := len(timeline.warnings) - MAX_WARNINGS) > 0:
        warnings.append(f"<div>... and {hidden:,} more warnings</div>")
    return f'<div style="font:13px sans-serif"><div>{title}</div>{"".join(warnings)}{_drawing(timeline)}</div>'


def _drawing(timeline: Timeline) -> str:
    rows: dict[tuple[Modality, str], list[Event]] = {}
    for event in timeline.events[:MAX_BARS]:
        for modality in timeline.lanes if event.modality == "audio_visual" else (event.modality,):
            rows.setdefault((modality, event.label), []).append(event)
    if not rows:
        return "<div>no events</div>"
    order = {label: place for place, label in enumerate(timeline.labels)}
    ordered = sorted(rows, key=lambda row: (MODALITIES.index(row[0]), order[row[1]]))
    shown = ordered[:MAX_ROWS]
    scale = _WIDTH / max(timeline.length, 1)
    parts = [_row(place, row, rows[row], scale) for place, row in enumerate(shown)]
    height = _ROW * len(shown)
    ends = ((0, "start", 0.0), (_WIDTH, "end", float(timeline.length)))
    parts += [
        f'<text x="{_LEFT + x}" y="{height + 13}" text-anchor="{anchor}" fill="#68717d">{format_clock(time)}</text>'
        for x, anchor, time in ends
    ]
    left_out = []
    if len(ordered) > MAX_ROWS:
        left_out.append(f"{len(ordered) - MAX_ROWS:,} more rows")
    if len(timeline.events) > MAX_BARS:
        left_out.append(f"{len(timeline.events) - MAX_BARS:,} more events")
    size = f'width="{_LEFT + _WIDTH + 8}" height="{height + 18}"'
    note = f"<div>not drawn: {', '.join(left_out)}</div>" if left_out else ""
    return f'<svg {size} role="img" aria-label="timeline" style="font:11px sans-serif">{"".join(parts)}</svg>{note}'


def _row(place: int, row: tuple[Modality, str], events: Sequence[Event], scale: float) -> str:
    modality, label = row
    top = place * _ROW
    words = f"{_text(display_label(label), 24)} ({MODALITY_WORDS[modality]})"
    name = f'<text x="0" y="{top + 12}" fill="currentColor">{words}</text>'
    back = f'<rect x="{_LEFT}" y="{top + 1}" width="{_WIDTH}" height="{_ROW - 2}" fill="#8883" />'
    bars = (
        f'<rect x="{_LEFT + event.onset * scale:.1f}" y="{top + 3}" width="{max(1.0, event.duration * scale):.1f}"'
        f' height="{_ROW - 6}" fill="{_COLOURS[modality]}"><title>{_text(display_label(event.label))},'
        f" {event.onset:g} to {event.offset:g} s, {event.score:.2f}</title></rect>"
        for event in events
    )
    return name + back + "".join(bars)


def _text(text: str, most: int = _MAX_NAME) -> str:
    """Escape text for a terminal's and a browser's sake, and cut it."""
    plain = escape(text)
    return escape_html(plain if len(plain) <= most else f"{plain[: most - 1]}…")
