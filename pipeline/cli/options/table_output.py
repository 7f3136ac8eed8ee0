"""Options and output of commands that print tables: terminal, JSON, Markdown."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

import click

from .command import OUTPUT_FILE, exit_1_on_error, option
from .groups import DebugOptions

if TYPE_CHECKING:
    from rich.console import Console

    from ...evaluation.tables import Table

_FILE_WIDTH = 1000  # characters; tables in files are not wrapped


@dataclass(frozen=True, kw_only=True)
class TableOptions(DebugOptions):
    """Form of a result."""

    heading: ClassVar[str] = "Result"
    form: str = field(
        metadata=option(
            "-f",
            "--format",
            type=click.Choice(["table", "json", "markdown"]),
            default="table",
            help="Format of the result.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class TableFileOptions(TableOptions):
    """Form and file of a result."""

    heading: ClassVar[str] = "Result"
    output: Path | None = field(
        metadata=option("-o", "--output", type=OUTPUT_FILE, show_default="standard output", help="File for the result.")
    )


def write_result(
    document: Mapping[str, Any], tables: list[Table], options: TableOptions, output: Path | None = None
) -> None:
    """Write a result in the format that the user chose.

    Args:
        document: the result as JSON.
        tables: the same result for reading.
        options: of the current command.
        output: file to replace; None is standard output.

    Raises:
        click.ClickException: the file cannot be written; exit status 1.
    """
    if options.form == "json":
        text = json.dumps(document, indent=2) + "\n"
    elif options.form == "markdown":
        text = "\n".join(table.to_markdown() for table in tables)
    else:
        text = render_tables(tables, sys.stdout if output is None else None)
    write_text_result(text, output, debug=options.debug)


def write_text_result(text: str, output: Path | None, *, debug: bool) -> None:
    """Write the text of a result.

    Args:
        text: in the format that the user chose.
        output: file to replace; None is standard output.
        debug: print the traceback of an error, too.

    Raises:
        click.ClickException: the file cannot be written; exit status 1.
    """
    from ...files import make_folder_of, write_atomic

    with exit_1_on_error(debug=debug):
        if output is None:
            click.echo(text, nl=False)
        else:
            make_folder_of(output)
            write_atomic(output, text.encode())


def render_tables(tables: list[Table], stream: TextIO | None) -> str:
    """Render tables as text.

    Args:
        tables: printed one below the other.
        stream: that the text is for, see `render_text`.

    Returns:
        The text, with box-drawing characters.
    """

    def print_tables(console: Console) -> None:
        for table in tables:
            table.print(console)

    return render_text(print_tables, stream)


def render_text(print_to: Callable[[Console], None], stream: TextIO | None) -> str:
    """Render what is printed to a console of rich as text.

    Args:
        print_to: receives the console.
        stream: that the text is for; None is a file in UTF-8. For a terminal there are colours and lines of its width,
            and where the encoding has no lines for boxes they are of ASCII characters.

    Returns:
        The text, with box-drawing characters.
    """
    from rich.console import Console

    terminal = stream is not None and stream.isatty()
    width = shutil.get_terminal_size().columns if terminal else _FILE_WIDTH
    encoding = getattr(stream, "encoding", None) or "utf-8"  # a stream in memory has none
    drawing = io.BytesIO()
    text = io.TextIOWrapper(drawing, encoding, errors="backslashreplace", newline="")
    print_to(Console(file=text, width=width, force_terminal=terminal, highlight=False, markup=False, emoji=False))
    text.flush()
    return drawing.getvalue().decode(encoding)
