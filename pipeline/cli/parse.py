"""`avvp parse`: one video, or a batch of them; arguments are checked before any weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...weights.manifest import DEFAULT_BUNDLE, load_bundle
from .batch_options import BATCH_NAMES, batch_options, collect_named_inputs, read_settings
from .batch_run import run_batch
from .event_outputs import (
    PICTURES,
    explain_option,
    formats_option,
    picture_options,
    read_refinement,
    refinement_options,
)
from .options import FiniteRange, exit_2_on_error, read_source, running_options
from .parse_file import parse_one

if TYPE_CHECKING:
    from ...weights.manifest import Bundle
    from ..batch.parse_task import ParseTask


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp-parse video.mp4 -o events.json
  avvp-parse video.mp4 --segments -q | jq .events
  avvp-parse video.mp4 -o events.json -f json,csv,vtt --merge-gap 1
  avvp-parse video.mp4 -o events.json --plot timeline.png --html report.html
  avvp-parse clips/ --recursive --output-dir events/
  avvp-parse -- "-odd name.mp4"

With --output-dir, the same command again continues where it stopped. Exit status: 0 all well; 1 some input failed
(named at the end); 2 wrong usage or a run that cannot start.""",
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE", help="Result of a single input; '-', the default, is standard output.")
@click.option("--output-dir", metavar="FOLDER", help="For the results of many inputs: a folder, or an s3:// address.")
@click.option("--recursive", is_flag=True, help="Also look in the folders below a folder.")
@click.option("--segments", is_flag=True, help="Add the per-second probabilities to the JSON result.")
@click.option(
    "--weights",
    default=DEFAULT_BUNDLE,
    show_default=True,
    metavar="NAME|FOLDER",
    help="Bundle of networks; see 'avvp weights list'.",
)
@click.option("--threshold", type=FiniteRange(0, 1), default=0.5, show_default=True, help="For all decisions.")
@click.option("--video-threshold", type=FiniteRange(0, 1), help="For the video-level decision alone.")
@click.option(
    "--thresholds",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON file with thresholds per class and modality.",
)
@click.option(
    "--annotations",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with annotations of the file, in the form of LLP: shows the truth beside the result.",
)
@formats_option
@refinement_options
@picture_options
@explain_option
@batch_options
@running_options
@click.option("-v", "--verbose", is_flag=True, help="Also say which files and decoder were used, and how long it took.")
@click.version_option(None, "--version", package_name="avvp", prog_name="avvp-parse")
@click.pass_context
def parse(context: click.Context, inputs: tuple[str, ...], **options: Any) -> int:
    """Write the event timeline of each INPUT: a media file, a folder of them, or a pattern.

    The result is JSON, unless another format is asked for: events with modality (audio, visual, audio_visual), label,
    onset, offset and score, what is known of the file, and what made the result. The timeline of a single file is also
    shown on the terminal. Results of a folder are journalled: what is done is not done again.
    """
    with exit_2_on_error(debug=options["debug"]):
        if options["output_dir"] is not None:
            return _parse_batch(inputs, options)
        _refuse_batch_options(context)
        return parse_one(inputs, options, _task)


def _parse_batch(inputs: Sequence[str], options: dict[str, Any]) -> int:
    if options["output"] is not None:
        raise click.UsageError("-o and --output-dir exclude each other")
    if options["annotations"] is not None:
        raise click.UsageError("--annotations is for one file; avvp evaluate --timelines scores a folder of results")
    if pictures := [name for name in (*PICTURES, "embed_video") if options[name]]:
        option = pictures[0].replace("_", "-")
        raise click.UsageError(f"--{option} is for one file; avvp report draws a folder of results")
    named = collect_named_inputs(inputs, options)

    from ..batch.open_storage import open_storage

    storage = open_storage(options["output_dir"])
    bundle = load_bundle(options["weights"])
    from .console import Console

    with storage.exclusive_lock():
        console = Console(quiet=options["quiet"], verbose=options["verbose"])
        return run_batch(_task(bundle, options), named, storage, options, console)


def _refuse_batch_options(context: click.Context) -> None:
    given = [name for name in BATCH_NAMES if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given:
        options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        raise click.UsageError(f"{options[given[0]]} goes with --output-dir")


def _task(bundle: Bundle, options: dict[str, Any]) -> ParseTask:
    """What is wrong without loading anything is found here."""
    from ..batch.parse_task import ParseTask
    from ..inference.bundle import known_labels
    from ..inference.thresholds import apply_tables, read_thresholds
    from ..outputs.formats.targets import parse_formats

    refinement = read_refinement(options)
    formats = tuple(form.name for form in parse_formats(options["formats"])) or ("json",)
    if options["segments"] and options["output_dir"] is not None and "json" not in formats:
        raise click.UsageError("--segments goes into the JSON result, and none is asked for")
    tables = read_thresholds(options["thresholds"]) if options["thresholds"] else {}
    levels = {"segment": options["threshold"], "video": options["threshold"]}
    if options["video_threshold"] is not None:
        levels["video"] = options["video_threshold"]
    if (labels := known_labels(bundle, options["weights_dir"])) is not None:
        apply_tables(tables, labels, **levels)  # an unknown class is found before the weights are loaded
        refinement.check(labels)
    return ParseTask(
        bundle=bundle,
        settings=read_settings(bundle.profile, options),
        source=read_source(options),
        tables=tables,
        levels=levels,
        segments=options["segments"],
        formats=formats,
        refinement=refinement,
    )
