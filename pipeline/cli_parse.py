"""`avvp parse`: arguments to a job, checked before any weights are loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..weights.manifest import DEFAULT_BUNDLE, load_bundle
from .cli_options import (
    FiniteRange,
    debug_option,
    decode_timeout_option,
    decoder_option,
    device_option,
    offline_option,
    starting,
    threads_option,
    weights_dir_option,
)
from .errors import AVVPError, SetupError, printable

if TYPE_CHECKING:
    from ..weights.manifest import Bundle
    from .batch import Hooks, Outcome, ParseJob
    from .console import Messages

_STDOUT = "-"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp-parse video.mp4 -o events.json
  avvp-parse video.mp4 --segments -q | jq .events
  avvp-parse clips/ --recursive --output-dir events/
  avvp-parse -- "-odd name.mp4"

Exit status: 0 all well; 1 some input failed (named at the end); 2 wrong usage or a run that cannot start.""",
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE", help="Result of a single input; '-', the default, is standard output.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Folder for the results of several inputs.")
@click.option("--recursive", is_flag=True, help="Also look in the folders below a folder.")
@click.option("--segments", is_flag=True, help="Add the per-second probabilities to the result.")
@click.option(
    "--weights",
    default=DEFAULT_BUNDLE,
    show_default=True,
    metavar="NAME|FOLDER",
    help="Bundle of networks; see 'avvp weights list'.",
)
@weights_dir_option
@offline_option
@click.option("--threshold", type=FiniteRange(0, 1), default=0.5, show_default=True, help="For all decisions.")
@click.option("--video-threshold", type=FiniteRange(0, 1), help="For the video-level decision alone.")
@click.option(
    "--thresholds",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON file with thresholds per class and modality.",
)
@device_option
@decoder_option
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True, help="Seconds of video at once.")
@threads_option
@decode_timeout_option
@click.option("-v", "--verbose", is_flag=True, help="Also say which files and decoder were used, and how long it took.")
@click.option("-q", "--quiet", is_flag=True, help="No timeline, no progress; errors only.")
@debug_option
@click.version_option(None, "--version", package_name="avvp", prog_name="avvp-parse")
def parse(inputs: tuple[str, ...], **options: Any) -> int:
    """Write the event timeline of each INPUT: a media file, a folder of them, or a pattern.

    The result is JSON: events with modality (audio, visual, audio_visual), label, onset, offset and score, what is
    known of the file, and what made the result. The timeline is also shown on the terminal.
    """
    with starting(debug=options["debug"]):
        outcome = _parse(inputs, options)
    return 1 if outcome.failures else 0


def _parse(inputs: Sequence[str], options: dict[str, Any]) -> Outcome:
    paths, outputs = _plan(inputs, options)
    bundle = load_bundle(options["weights"])

    from .console import Messages  # noqa: PLC0415 - from here on, imports take seconds

    messages = Messages(quiet=options["quiet"], verbose=options["verbose"])
    job = _prepare(paths, outputs, bundle, options, messages)
    from .batch import run_job  # noqa: PLC0415

    with messages:
        outcome = run_job(job, _hooks(messages), debug=options["debug"])
    _summarize(outcome, len(paths))
    return outcome


def _plan(inputs: Sequence[str], options: dict[str, Any]) -> tuple[list[Path], list[Path]]:
    """Inputs and where their results go. Raises UsageError listing everything that is wrong."""
    from .files import check_writable, collect_inputs, is_special  # noqa: PLC0415

    paths, problems = collect_inputs(inputs, recursive=options["recursive"])
    if problems:
        raise click.UsageError("\n  ".join(["some inputs cannot be used:", *problems]))
    output, folder = options["output"], options["output_dir"]
    if output is not None and folder is not None:
        raise click.UsageError("-o and --output-dir exclude each other")
    if folder is None and len(paths) > 1:
        raise click.UsageError(f"{len(paths)} inputs need --output-dir")
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(folder)
            outputs = [folder / f"{path.stem}.events.json" for path in paths]
            _check_distinct(paths, outputs)
        elif output is None or output == _STDOUT:
            outputs = [Path(_STDOUT)]
        else:
            outputs = [Path(output)]
            if outputs[0].is_dir():
                raise click.UsageError(f"{printable(output)} is a folder; use --output-dir for folders")
            if not is_special(outputs[0]):
                check_writable(outputs[0].resolve().parent)
    except (AVVPError, OSError) as error:
        raise click.UsageError(printable(error)) from error
    given = {(path.stat().st_dev, path.stat().st_ino) for path in paths if path.exists()}
    for target in outputs:
        if target.exists() and (target.stat().st_dev, target.stat().st_ino) in given:
            raise click.UsageError(f"{printable(target)} is an input; the result would overwrite it")
    return paths, outputs


def _check_distinct(paths: Sequence[Path], outputs: Sequence[Path]) -> None:
    first: dict[Path, Path] = {}
    for path, output in zip(paths, outputs, strict=True):
        if output in first:
            both = f"{printable(first[output])} and {printable(path)}"
            raise click.UsageError(f"{both} would both be written to {printable(output)}; parse them apart")
        first[output] = path


def _prepare(
    paths: list[Path], outputs: list[Path], bundle: Bundle, options: dict[str, Any], messages: Messages
) -> ParseJob:
    """Everything that takes time to load, after everything that can be wrong without it."""
    from .thresholds import apply_tables, read_thresholds  # noqa: PLC0415

    tables = read_thresholds(options["thresholds"]) if options["thresholds"] else {}
    messages.note("loading networks")

    import torch  # noqa: PLC0415

    from ..extractors.profiles import get_profile  # noqa: PLC0415
    from .batch import ParseJob  # noqa: PLC0415
    from .bundle import known_labels, load_networks  # noqa: PLC0415
    from .seconds import check_decoder  # noqa: PLC0415

    try:
        check_decoder(get_profile(bundle.profile), options["decoder"])
    except ValueError as error:
        raise SetupError(str(error)) from error
    levels = {"segment": options["threshold"], "video": options["threshold"]}
    if options["video_threshold"] is not None:
        levels["video"] = options["video_threshold"]
    if (labels := known_labels(bundle, options["weights_dir"])) is not None:
        apply_tables(tables, labels, **levels)  # an unknown class is found before the weights are loaded
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    with messages:
        networks = load_networks(
            bundle,
            weights_dir=options["weights_dir"],
            offline=options["offline"],
            device=options["device"],
            progress=messages.download,
        )
    for name, digest in networks.hashes.items():
        messages.note(f"weights {name} {digest}")
    return ParseJob(
        inputs=paths,
        outputs=outputs,
        bundle=networks,
        thresholds=apply_tables(tables, networks.parser.config.labels, **levels),
        decoder=options["decoder"],
        batch_size=options["batch_size"],
        timeout=options["decode_timeout"],
        segments=options["segments"],
    )


def _hooks(messages: Messages) -> Hooks:
    from .batch import Hooks  # noqa: PLC0415

    return Hooks(progress=messages.progress, finished=messages.finished, failed=messages.failed)


def _summarize(outcome: Outcome, total: int) -> None:
    """Name every failed input with its cause, at the end, where it is read."""
    if not outcome.failures:
        return
    if total > 1:
        click.echo(f"{outcome.done} of {total} parsed, {len(outcome.failures)} failed:", err=True)
    for path, cause in outcome.failures.items():
        click.echo(f"Error: {printable(path)}: {cause}", err=True)
    sys.stderr.flush()
