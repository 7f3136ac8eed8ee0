"""Options and output of commands that print tables: terminal, JSON, Markdown."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import exit_1_on_error

if TYPE_CHECKING:
    from ..evaluation.tables import Table

_FILE_WIDTH = 1000  # of tables that are not read on a terminal: nothing is wrapped
_FORMATS = ("table", "json", "markdown")
format_option = click.option(
    "-f", "--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True, help="Of the result."
)
output_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File for the result; else standard output."
)


def write_result(document: Mapping[str, Any], tables: list[Table], options: Mapping[str, Any]) -> None:
    """The result, in its form, to where it goes."""
    from ..files import write_atomic

    if options["form"] == "json":
        text = json.dumps(document, indent=2) + "\n"
    elif options["form"] == "markdown":
        text = "\n".join(table.to_markdown() for table in tables)
    else:
        text = render_tables(tables, terminal=options["output"] is None and sys.stdout.isatty())
    with exit_1_on_error(debug=options["debug"]):
        if options["output"] is None:
            click.echo(text, nl=False)
        else:
            write_atomic(options["output"], text.encode())


def render_tables(tables: list[Table], *, terminal: bool) -> str:
    """Draw tables as text, coloured for a terminal."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if terminal else _FILE_WIDTH
    drawing = io.StringIO()
    console = Console(file=drawing, width=width, force_terminal=terminal, highlight=False, markup=False, emoji=False)
    for table in tables:
        table.print(console)
    return drawing.getvalue()
