"""Descriptions of objects for a terminal: at most a screen, whatever the object holds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Protocol

from .text import escape

MAX_LINES = 12  # of a list within a description
MAX_WARNINGS = 3
MAX_WARNING_LINES = 2  # of each
MAX_WIDTH = 100  # characters of a line


def describe(
    title: str, lines: Sequence[str], *, of: int | None = None, more: str = "lines", warnings: Sequence[str] = ()
) -> str:
    """Lay out a description: a title, indented lines below it, warnings at the end.

    Args:
        title: first line.
        lines: of which the first `MAX_LINES` are shown and the others counted.
        of: how many lines there are, where `lines` are only the first of them.
        more: what the lines are, in the plural: "events" gives "... and 7 more events".
        warnings: of which the first `MAX_WARNINGS` are shown and the others counted.

    Returns:
        Lines of at most `MAX_WIDTH` characters.
    """
    shown = [title, *(f"  {line}" for line in lines[:MAX_LINES])]
    total = len(lines) if of is None else of
    if total > MAX_LINES:
        shown.append(f"  ... and {total - MAX_LINES:,} more {more}")
    for warning in warnings[:MAX_WARNINGS]:
        wrapped = textwrap.wrap(
            f"warning: {escape(warning)}", MAX_WIDTH - 4, initial_indent="  ", subsequent_indent="    "
        )
        shown += wrapped[:MAX_WARNING_LINES]
    if len(warnings) > MAX_WARNINGS:
        shown.append(f"  ... and {len(warnings) - MAX_WARNINGS:,} more warnings")
    return "\n".join(map(_cut, shown))


def describe_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Align the cells of rows: each column is as wide as its widest cell.

    Args:
        rows: cells from left to right, as many in each row.

    Returns:
        One line for each row.
    """
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _cut(line: str) -> str:
    return line if len(line) <= MAX_WIDTH else f"{line[: MAX_WIDTH - 3]}..."


class Decided(Protocol):
    """A configuration of a parser, as far as it fixes its decision; see `ParserConfig`."""

    @property
    def decoder(self) -> str: ...
    @property
    def decision(self) -> str: ...
    @property
    def video_filter(self) -> str: ...
    @property
    def segment_threshold(self) -> float: ...
    @property
    def video_threshold(self) -> float: ...
    @property
    def strict_thresholds(self) -> bool: ...


def describe_decision(config: Decided) -> str:
    """Describe the decision of a parser in a few words.

    Args:
        config: of the parser.

    Returns:
        Thresholds of seconds and of videos, and which video-level probability must reach them.
    """
    if config.decision != "thresholds":
        return f"by {escape(config.decision)}, of another package"
    verb = "above" if config.strict_thresholds else "at least"
    filters = {
        "pooled": "the video's, pooled over both modalities,",
        "own": "the video's, of the same modality,",
        "union": "the video's, of either modality,",
        "default": "the video's, pooled if the decoder pools, else of either modality,",
    }
    name = config.video_filter
    if name == "default" and ":" not in config.decoder:  # a decoder of another package may pool or not
        name = "union" if config.decoder == "leap" else "pooled"
    return (
        f"a probability of the second {verb} {config.segment_threshold:g}, and {filters[name]} {verb}"
        f" {config.video_threshold:g}"
    )
