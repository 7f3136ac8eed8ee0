"""The programs avvp and avvp-parse. Each command has a file of its own; commands only handle arguments.

Exit status: 0 success; 1 an input failed; 2 wrong usage, or the run cannot start; 130 interrupted.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from .convert import convert
from .evaluate import evaluate
from .extract import extract
from .model_info import model_info
from .options.command import CONTEXT_SETTINGS, format_examples, version_option
from .pack import pack
from .parse import parse
from .pseudo_label import pseudo_label
from .report import report
from .reproduce import recipes, reproduce
from .synth import synth
from .train import train
from .train_extractors import train_extractors
from .weights import weights

INTERRUPTED = 130


_EXAMPLES = (
    "avvp parse video.mp4 -o events.json",
    "avvp parse clips/ --output-dir events/",
    "avvp convert events.json -f vtt,csv -o video",
    "avvp report events.json --html report.html --plot timeline.png",
    "avvp extract clips/ -o feats/",
    "avvp train --annotations llp/ --features feats/ --pseudo-labels valor/ -o runs/leap",
    "avvp evaluate --weights runs/leap --annotations llp/ --features feats/",
    "avvp pseudo-label clips/ --annotations labels.csv -o data/",
    "avvp synth clips/ --clips 100",
    "avvp weights list",
)


@version_option("avvp")
@click.group(context_settings=CONTEXT_SETTINGS, epilog=format_examples(_EXAMPLES))
def avvp() -> None:
    """Audio-visual video parsing: which events are heard, seen, or both in a video, and when."""


for command in (
    parse,
    convert,
    report,
    extract,
    pack,
    train,
    evaluate,
    reproduce,
    recipes,
    model_info,
    pseudo_label,
    synth,
    train_extractors,
    weights,
):
    avvp.add_command(command)


def main() -> None:
    """Run the program `avvp`."""
    _run(avvp, "avvp")


def parse_main() -> None:
    """Run the program `avvp-parse`, which is `avvp parse`."""
    _run(parse, "avvp-parse")


def _run(program: click.Command, name: str) -> None:
    # SIGTERM and SIGHUP unwind the stack as Ctrl-C does: decoders are stopped, temporary files removed.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    _prepare_stderr()
    try:
        status = program.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        status = INTERRUPTED
    sys.exit(status if isinstance(status, int) else 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _prepare_stderr() -> None:
    """Open a closed standard error, and escape what its encoding cannot print: messages must not end a run."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the program runs
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
