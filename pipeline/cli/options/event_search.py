"""Options of commands that look for events in many files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .command import CommandOptions, FiniteRange, option

if TYPE_CHECKING:
    from ...outputs.formats.read_folders import EventFiles, NamedTimeline


@dataclass(frozen=True, kw_only=True)
class LeastOptions(CommandOptions):
    """Score and duration that events have at least."""

    heading: ClassVar[str] = "Events"
    min_score: float = field(
        metadata=option(
            "--min-score", type=FiniteRange(0, 1), default=0.0, metavar="PROBABILITY", help="Least score of an event."
        )
    )
    min_duration: float = field(
        metadata=option(
            "--min-duration", type=FiniteRange(0), default=0.0, metavar="SECONDS", help="Least length of what is found."
        )
    )


def timelines_one_by_one(inputs: Iterable[Path], record: EventFiles, *, quiet: bool) -> Iterator[NamedTimeline]:
    """Read event files one after the other; at the end report skipped files on standard error.

    Args:
        inputs: files and folders.
        record: receives the files that were read.
        quiet: do not report skipped files.

    Yields:
        The timelines.

    Raises:
        SetupError: there are no event files.
        FormatError: a file is malformed.
    """
    from ...outputs.formats.read_folders import each_timeline

    yield from each_timeline(inputs, record)
    for note in () if quiet else record.notes:
        click.echo(note, err=True)
