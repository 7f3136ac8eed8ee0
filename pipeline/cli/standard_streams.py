"""Standard input, output and error of the program, however the shell has left them, and error messages on them."""

from __future__ import annotations

import contextlib
import errno
import io
import locale
import os
import sys

import click

from ..text import escape

MAX_ERROR_LINE = 1_000  # characters of a line of an error message; a longer one is cut in its middle
_END_SHOWN = 200  # characters of its end


def prepare_streams() -> None:
    """Open what the shell has closed, and escape what a terminal or the encoding of a stream does not have.

    A file opened later would get the number of a closed stream, and what child processes print would end up in it. So
    the numbers are taken: input is empty, what is written to output is an error, messages are dropped.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number, which is this one
    # For as long as the program runs.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = stream.isatty() and _is_posix_locale()
            stream.reconfigure(encoding="ascii" if ascii_only else None, errors="backslashreplace")


def _is_posix_locale() -> bool:
    """Return whether the user's locale is C or POSIX: Python writes UTF-8 there, which such a terminal may not show."""
    chosen = {"PYTHONUTF8", "PYTHONIOENCODING"} & os.environ.keys()
    return not chosen and locale.setlocale(locale.LC_CTYPE) in {"C", "POSIX"}


def show_error(error: click.ClickException) -> None:
    """Print the message of an error: each of its lines escaped, and cut if it is long."""
    text = io.StringIO()
    error.show(file=text)
    print_error(text.getvalue())


def print_error(text: str) -> None:
    """Print text on standard error, each of its lines escaped, and cut if it is long."""
    with contextlib.suppress(OSError):  # a full disk or a closed terminal behind it
        for line in text.removesuffix("\n").split("\n"):
            click.echo(_shorten(escape(line)), err=True)


def _shorten(line: str) -> str:
    if len(line) <= MAX_ERROR_LINE:
        return line
    return f"{line[: MAX_ERROR_LINE - _END_SHOWN]} ... ({len(line)} characters) ... {line[-_END_SHOWN:]}"


def finish_output() -> str:
    """Write what is left in the buffer of standard output, and leave nothing for the end of the process to fail with.

    Returns:
        Why it cannot be written, else an empty string. A pipe whose reader has ended is no error.
    """
    reason = ""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: closed by the program itself
            if stream is sys.stdout and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                reason = describe_os_error(error)
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return reason


def describe_os_error(error: OSError) -> str:
    """Describe a refusal of the system that no reader or writer has described, for a message."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason}"
    return "standard input or output: " + ("is closed" if error.errno == errno.EBADF else reason)
