"""The programs avvp and avvp-parse. The commands are in commands/.

Exit status: 0 success; 1 an input failed; 2 wrong usage, or the run cannot start; 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import click
import platformdirs

from .options.command import CONTEXT_SETTINGS, format_examples, version_option
from .options.defaults import Defaults
from .options.lazy_group import LazyGroup
from .standard_streams import describe_os_error, finish_output, prepare_streams, print_error, show_error

INTERRUPTED = 130


_EXAMPLES = (
    "avvp parse video.mp4 -o events.json",
    'avvp parse video.mp4 --classes "dog barking, applause" -o events.json',
    "avvp parse clips/ --output-dir events/",
    "avvp convert events.json -f vtt,csv -o video",
    "avvp find events/ --audio Dog --min-score 0.6 --sort score",
    'avvp search events/ "glass breaking" --top 20',
    "avvp clips events/ --media clips/ --class Dog --pad 1 -o cuts/",
    "avvp report events.json --html report.html --plot timeline.png",
    "avvp extract clips/ -o feats/",
    "avvp status feats/ --watch",
    "avvp train --annotations llp/ --features feats/ --pseudo-labels valor/ -o runs/leap",
    "avvp evaluate --weights runs/leap --annotations llp/ --features feats/",
    "avvp compare runs/mmil runs/leap --annotations llp/ --features feats/",
    "avvp pseudo-label clips/ --annotations labels.csv -o data/",
    "avvp synth clips/ --clips 100",
    "avvp weights list",
    "avvp doctor",
)


# Command -> the first line of its --help; the module of a command is imported when the command is run.
_SUMMARIES = {
    "calibrate": "Choose thresholds of classes that were never trained, by annotated clips.",
    "clips": "Cut events out of their videos, with a list and a contact sheet.",
    "compare": "Compare runs, bundles and folders of event files on the same clips.",
    "convert": "Convert event files to other formats, or to a data set.",
    "doctor": "Check the installation: versions, devices, decoders, weights, defaults, speed.",
    "download": "Download the clips that annotations name, and cut them out of their videos.",
    "evaluate": "Score a parser, a localizer, event files or pseudo labels.",
    "export": "Write networks for torch.export, ONNX Runtime or OpenVINO.",
    "extract": "Extract features of videos, as LLP's .npy files or a packed store.",
    "find": "Search for events in files and folders of events.",
    "model-info": "Print parameters and multiply-adds of a parser or a localizer, per module.",
    "pack": "Pack feature files into one store, which training reads fast.",
    "parse": "Find which events are heard and seen in videos, and when.",
    "pseudo-label": "Label each second of videos with CLIP and CLAP, as VALOR does.",
    "recipes": "List the recipes for --recipe and the folder of their files.",
    "report": "Draw events as a plot, a page, or a folder of pages.",
    "reproduce": "Train and score the runs of a table of the LEAP paper.",
    "search": "Search kept embeddings of videos for what texts say.",
    "serve": "Parse and correct videos in the browser; a JSON API, and a backend of Label Studio.",
    "status": "Show what batch runs over a folder have done, what failed and what is left.",
    "synth": "Generate labelled clips of the 25 LLP classes.",
    "train": "Train a parser or a localizer on extracted features.",
    "train-extractors": "Train small feature extractors on clips with dense labels.",
    "train-teacher": "Train a temporal teacher on clips with labels per second, as UWAV does.",
    "weights": "List, download, verify, find, share and quantize weight files and bundles.",
}


@version_option("avvp")
@click.group(
    cls=LazyGroup,
    package=f"{__package__}.commands",
    summaries=_SUMMARIES,
    modules={
        "compare": "training.compare",
        "recipes": "training.reproduce",
        "reproduce": "training.reproduce",
        "train": "training.train",
        "train-extractors": "training.train_extractors",
        "train-teacher": "training.train_teacher",
    },
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
    parse = avvp.get_command(click.Context(avvp), "parse")
    assert parse is not None
    _run(parse, "avvp-parse")


def _run(program: click.Command, name: str) -> None:
    # SIGTERM and SIGHUP unwind the stack as Ctrl-C does: decoders are stopped, temporary files removed.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    prepare_streams()
    _keep_torch_cache()
    try:
        os.getcwd()  # noqa: PTH109
        status = _call(program, name)
    except FileNotFoundError:  # libraries end the process there
        print_error("Error: the working folder does not exist any more; change to another one")
        status = 2
    except (KeyboardInterrupt, click.Abort):
        print_error("interrupted")
        status = INTERRUPTED
    if (reason := finish_output()) and not status:
        print_error(f"Error: standard output: {reason}")
        status = 1
    sys.exit(status)


def _keep_torch_cache() -> None:
    """Let PyTorch keep compiled code in the user's cache: it makes a folder for it whenever it is imported.

    By default that is left in the folder of temporary files. A cache that cannot be written would end the import.
    """
    folder = Path(platformdirs.user_cache_dir("avvp")) / "torchinductor"
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(existing, os.W_OK):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _call(program: click.Command, name: str) -> int:
    """Run a program, print its error and return its exit status."""
    try:
        status = program.main(prog_name=name, standalone_mode=False, obj=Defaults(avvp))
    except click.Abort:
        raise
    except click.ClickException as error:
        show_error(error)
        return error.exit_code
    except SystemExit as error:
        status = error.code
    except OSError as error:
        _print_traceback()
        print_error(f"Error: {describe_os_error(error)}")
        return 1
    except MemoryError:
        _print_traceback()
        print_error("Error: there is not enough memory; use smaller files, fewer --workers or a lower --batch-size")
        return 1
    except Exception as error:
        _print_traceback()
        print_error(f"Error: internal error, please report it (--debug shows where): {type(error).__name__}: {error}")
        return 1
    return status if isinstance(status, int) else 0


def _print_traceback() -> None:
    if "--debug" in sys.argv[1:]:
        print_error(traceback.format_exc())


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
