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

from .options.command import CONTEXT_SETTINGS, format_examples, version_option
from .options.lazy_group import LazyGroup

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


# Command -> the first line of its --help; the module of a command is imported when the command is run.
_SUMMARIES = {
    "convert": "Convert event files to other formats, or to a data set.",
    "evaluate": "Score a parser, event files or pseudo labels.",
    "extract": "Extract features of videos, as LLP's .npy files or a packed store.",
    "model-info": "Print parameters and multiply-adds of a parser, per module.",
    "pack": "Pack feature files into one memory-mapped store.",
    "parse": "Find which events are heard and seen in videos, and when.",
    "pseudo-label": "Label each second of videos with CLIP and CLAP, as VALOR does.",
    "recipes": "List the recipes for --recipe and the folder of their files.",
    "report": "Draw events as a plot, a page, or a folder of pages.",
    "reproduce": "Train and score the runs of a table of the LEAP paper.",
    "synth": "Generate labelled clips of the 25 LLP classes.",
    "train": "Train a parser on extracted features.",
    "train-extractors": "Train small feature extractors on clips with dense labels.",
    "weights": "List, download, verify and find weight files and bundles.",
}


@version_option("avvp")
@click.group(
    cls=LazyGroup,
    package=__package__,
    summaries=_SUMMARIES,
    modules={"recipes": "reproduce"},
    context_settings=CONTEXT_SETTINGS,
    epilog=format_examples(_EXAMPLES),
)
def avvp() -> None:
    """Audio-visual video parsing: which events are heard, seen, or both in a video, and when."""


def main() -> None:
    """Run the program `avvp`."""
    _run(avvp, "avvp")


def parse_main() -> None:
    """Run the program `avvp-parse`, which is `avvp parse`."""
    from .parse import parse

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
