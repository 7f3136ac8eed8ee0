"""Command avvp find: search for events in files and folders of events."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import SetupError
from ...text import escape
from ..options.command import (
    ANY_PATH,
    OUTPUT_FILE,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.event_search import LeastOptions, timelines_one_by_one
from ..options.groups import MessageOptions

if TYPE_CHECKING:
    from ...outputs.search.query import Condition, Query
    from ...outputs.search.search import Match, SearchResult

_FORMS = ("text", "csv", "json")
_MAX_ROWS = 1_000  # of a table to read, unless the user asks for more: laying out a row takes a millisecond


@dataclass(frozen=True, kw_only=True)
class FindOptions(LeastOptions, MessageOptions):
    """Options of avvp find."""

    inputs: tuple[Path, ...] = field(metadata=argument(nargs=-1, required=True, type=ANY_PATH, metavar="EVENTS..."))
    audio: tuple[str, ...] = field(
        metadata=option("--audio", multiple=True, metavar="CLASS", help="Class of an audio event; may be repeated.")
    )
    visual: tuple[str, ...] = field(
        metadata=option("--visual", multiple=True, metavar="CLASS", help="Class of a visual event; may be repeated.")
    )
    both: tuple[str, ...] = field(
        metadata=option(
            "--both", multiple=True, metavar="CLASS", help="Class of an event in both modalities; may be repeated."
        )
    )
    classes: tuple[str, ...] = field(
        metadata=option(
            "--class", multiple=True, metavar="CLASS", help="Class of an audio or visual event; may be repeated."
        )
    )
    any_of: bool = field(
        metadata=option(
            "--any", is_flag=True, help="Find what fits one of these; by default all hold at the same time."
        )
    )
    order: str = field(
        metadata=option(
            "--sort",
            type=click.Choice(["file", "time", "score", "duration"]),
            default="file",
            help="Order: best score and longest duration first.",
        )
    )
    limit: int | None = field(
        metadata=option(
            "--limit", type=click.IntRange(1), show_default="all; of text 1000", help="Most matches to list."
        )
    )
    form: str | None = field(
        metadata=option(
            "-f",
            "--format",
            type=click.Choice(_FORMS),
            show_default="by the suffix of the output, else text",
            help="Format of the list.",
        )
    )
    output: Path | None = field(
        metadata=option("-o", "--output", type=OUTPUT_FILE, show_default="standard output", help="File for the list.")
    )


def _check_names(matches: Iterable[Match]) -> None:
    """Raise SetupError for two timelines of one name, which other commands would take for one."""
    sources: dict[str, Path] = {}
    for match in matches:
        if (source := sources.setdefault(match.name, match.source)) != match.source:
            both = f"{escape(source)} and {escape(match.source)}"
            raise SetupError(f"{both}: two timelines are called {escape(match.name)}; -f json keeps them apart")


@command(
    FindOptions,
    examples=(
        "avvp find events/ --audio Dog --min-score 0.6 --sort score",
        "avvp find events/ --audio Dog --visual Car --min-duration 1",
        'avvp find events/ --class "vacuum cleaner" --class Dog --any -o found.csv',
    ),
    notes="Classes are found in any case, with spaces or underscores. The csv is read as events by other commands.",
)
def find(options: FindOptions) -> int:
    """Search for events in files and folders of events.

    EVENTS are files or folders of event files. Several conditions find the moments of a file in which all of them
    hold: the time that one event of each shares, with the smallest of their scores.
    """
    from ...files import check_folder_of, make_folder_of, write_atomic
    from ...outputs.formats.read_folders import EventFiles
    from ...outputs.search.search import search
    from ..options.event_outputs import print_written, refuse_inputs

    outputs = [] if options.output is None else [options.output]
    with exit_2_on_error(debug=options.debug):
        query = _query(options)
        for path in outputs:
            check_folder_of(path)
        record = EventFiles()
        timelines = timelines_one_by_one(options.inputs, record, quiet=options.quiet)
        limit = options.limit or (_MAX_ROWS if _form(options) == "text" else None)
        result = search(timelines, query, order=options.order, limit=limit)
        if _form(options) == "csv":
            _check_names(result.matches)
        refuse_inputs(outputs, record.files)
    with exit_1_on_error(debug=options.debug):
        content = _format(result, query, options)
        if options.output is None:
            click.echo(content, nl=False)
        else:
            make_folder_of(options.output)
            write_atomic(options.output, content)
    _print_count(result, options)
    print_written(outputs, quiet=options.quiet)
    return 0


def _query(options: FindOptions) -> Query:
    from ...outputs.search.query import Condition, Query

    conditions: tuple[Condition, ...] = (
        *(Condition(label, "audio") for label in options.audio),
        *(Condition(label, "visual") for label in options.visual),
        *(Condition(label, "audio_visual") for label in options.both),
        *(Condition(label) for label in options.classes),
    )
    if options.any_of and len(conditions) <= 1:
        raise click.UsageError("--any goes with several of --audio, --visual, --both and --class")
    return Query(conditions, options.any_of, options.min_score, options.min_duration)


def _form(options: FindOptions) -> str:
    suffix = "" if options.output is None else options.output.suffix.lower().removeprefix(".")
    return options.form or (suffix if suffix in _FORMS else "text")


def _format(result: SearchResult, query: Query, options: FindOptions) -> bytes:
    from ...outputs.search.results import render_result, write_csv, write_json
    from ..options.table_output import render_text

    form = _form(options)
    if form == "csv":
        return write_csv(result)
    if form == "json":
        return write_json(result, query)
    table, stream = render_result(result), sys.stdout if options.output is None else None
    return render_text(lambda console: console.print(table), stream).encode("utf-8", "backslashreplace")


def _print_count(result: SearchResult, options: FindOptions) -> None:
    """Say how much was found where the list does not."""
    from ...outputs.search.results import describe_count

    if not options.quiet and (options.output is not None or _form(options) != "text"):
        click.echo(describe_count(result), err=True)
