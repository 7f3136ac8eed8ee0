"""Timeline as text bars in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.text import Text

from ..clock import format_clock
from ..segments import runs
from ..text import display_label, escape
from ..timeline import MODALITY_WORDS, Event, GroundTruth, Modality, Timeline

_STYLES: dict[Modality, str] = {"audio": "cyan", "visual": "magenta", "audio_visual": "green"}
_MAX_COLUMNS_PER_SECOND = 4
_LABEL_WIDTH = 24
_FULL, _EMPTY = "█", "·"
_ASCII = str.maketrans({_FULL: "#", _EMPTY: ".", "…": "~"})  # where a terminal has nothing else


def render_timeline(
    timeline: Timeline, width: int, truth: GroundTruth | None = None, *, ascii_only: bool = False
) -> RenderableType:
    """Render a bar for each class and modality with an event, below a ruler, and the warnings.

    Args:
        timeline: the events.
        width: of the terminal, columns.
        truth: shown below each bar, and alone for classes that the timeline missed.
        ascii_only: draw bars of ASCII characters.

    Returns:
        Lines for rich; bars have at least 20 columns even if the terminal is narrower.
    """
    columns = max(20, width - _LABEL_WIDTH - 16)
    start, end = timeline.parsed
    scale = _Scale(start, end, min(_MAX_COLUMNS_PER_SECOND, columns / (end - start)))
    lines: list[Text] = [_title(timeline), _ruler(scale)]
    if not timeline.events:
        lines.append(Text("  no events", style="dim"))
    for modality in timeline.modalities:
        modality_events = [event for event in timeline.events if event.modality == modality]
        for index, label in enumerate(timeline.labels):
            events = [event for event in modality_events if event.label == label]
            spans = _true_spans(truth, modality, index)
            if events:
                lines.append(_row(modality, label, events, scale))
            elif spans:
                lines.append(_missed(modality, label, scale))
            if spans:
                bar = _bar(spans, scale)
                lines.append(Text(f"  {'':<{_LABEL_WIDTH}} {'truth':<7}{bar}", style="dim"))
    if truth is not None and truth.agreement:
        lines.append(Text(f"  {truth.agreement}", style="bold"))
    for warning in timeline.warnings:
        wrapped = textwrap.wrap(escape(warning), max(20, width - 4), break_long_words=False, break_on_hyphens=False)
        lines += [Text(f"  {' ' if row else '!'} {part}", style="yellow") for row, part in enumerate(wrapped)]
    if ascii_only:
        for line in lines:
            line.plain = line.plain.translate(_ASCII)  # of the same length: styles stay in their places
    return Group(*lines)


def print_timeline(timeline: Timeline, console: Console, truth: GroundTruth | None = None) -> None:
    """Print a timeline to the console of messages, as wide as that is.

    Args:
        timeline: the events.
        console: of messages, not of results.
        truth: shown below each bar, see `render_timeline`.
    """
    ascii_only = console.options.ascii_only
    console.print(render_timeline(timeline, console.width, truth, ascii_only=ascii_only), soft_wrap=True)


def _title(timeline: Timeline) -> Text:
    file_name = escape(PurePath(timeline.media.get("path", "video")).name)
    counts = [(sum(e.modality == m for e in timeline.events), MODALITY_WORDS[m]) for m in timeline.modalities]
    length = f"{timeline.media['duration']:.1f} s"
    if timeline.parsed[0]:
        length = " to ".join(map(format_clock, timeline.parsed))
    facts = f"  {length}   " + ", ".join(f"{count} {name}" for count, name in counts)
    return Text(file_name, style="bold").append(facts, style="dim")


class _Scale(NamedTuple):
    """Seconds [start, end) that the bars show."""

    start: int
    end: int
    per_second: float  # columns

    @property
    def length(self) -> int:
        """Columns of the bars."""
        return max(1, round((self.end - self.start) * self.per_second))


def _ruler(scale: _Scale) -> Text:
    """Render times above the bars, at the smallest round interval that leaves room for the numbers."""
    segments = scale.end - scale.start
    intervals = (1, 2, 5, 10, 30, 60, 300, 600, 3600, segments + 1)
    step = next(s for s in intervals if s * scale.per_second >= 8 or s > segments)
    marks = [" "] * (scale.length + 8)
    for second in range(scale.start, scale.end + 1, step):
        column = round((second - scale.start) * scale.per_second)
        mark = format_clock(second)
        marks[column : column + len(mark)] = mark
    return Text(" " * (_LABEL_WIDTH + 10) + "".join(marks).rstrip(), style="dim")


def _row(modality: Modality, label: str, events: Sequence[Event], scale: _Scale) -> Text:
    bar = _bar([(event.onset, event.offset) for event in events], scale)
    text = _row_start(modality, label).append(bar, style=_STYLES[modality])
    return text.append(f" {max(event.score for event in events):.2f}", style="dim")


def _missed(modality: Modality, label: str, scale: _Scale) -> Text:
    return (
        _row_start(modality, label)
        .append(_EMPTY * scale.length, style=_STYLES[modality])
        .append(" missed", style="dim")
    )


def _row_start(modality: Modality, label: str) -> Text:
    name = display_label(label)
    shown = name if len(name) <= _LABEL_WIDTH else name[: _LABEL_WIDTH - 1] + "…"
    return Text(f"  {shown:<{_LABEL_WIDTH}} {MODALITY_WORDS[modality]:<7}")


def _bar(spans: Sequence[tuple[float, float]], scale: _Scale) -> str:
    length = scale.length
    bar = [_EMPTY] * length
    for onset, offset in spans:
        if offset <= scale.start:  # of the truth, before the part
            continue
        first = min(int(max(0.0, onset - scale.start) * scale.per_second), length - 1)
        last = max(first + 1, round((offset - scale.start) * scale.per_second))
        bar[first:last] = _FULL * (min(last, length) - first)
    return "".join(bar)


def _true_spans(truth: GroundTruth | None, modality: Modality, label: int) -> list[tuple[int, int]]:
    if truth is None:
        return []
    return runs(truth.labels.of(modality)[:, label])
