"""`avvp parse`: one video, or a batch of them; arguments are checked before any weights are loaded."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..weights.manifest import DEFAULT_BUNDLE, load_bundle
from .cli_batch import BATCH_NAMES, batch_options, name_all, read_settings, run_batch
from .cli_options import FiniteRange, running_options, starting
from .errors import AVVPError, OutputError, SetupError, printable

if TYPE_CHECKING:
    from ..weights.manifest import Bundle
    from .console import Messages
    from .parsing import ParseTask
    from .score_timelines import ClipTruth

_STDOUT = "-"
_BATCH_SECONDS = 4  # of video at once, for a single file


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp-parse video.mp4 -o events.json
  avvp-parse video.mp4 --segments -q | jq .events
  avvp-parse clips/ --recursive --output-dir events/
  avvp-parse -- "-odd name.mp4"

With --output-dir, the same command again continues where it stopped. Exit status: 0 all well; 1 some input failed
(named at the end); 2 wrong usage or a run that cannot start.""",
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("-o", "--output", metavar="FILE", help="Result of a single input; '-', the default, is standard output.")
@click.option("--output-dir", metavar="FOLDER", help="For the results of many inputs: a folder, or an s3:// address.")
@click.option("--recursive", is_flag=True, help="Also look in the folders below a folder.")
@click.option("--segments", is_flag=True, help="Add the per-second probabilities to the result.")
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
@batch_options
@running_options
@click.option("-v", "--verbose", is_flag=True, help="Also say which files and decoder were used, and how long it took.")
@click.version_option(None, "--version", package_name="avvp", prog_name="avvp-parse")
@click.pass_context
def parse(context: click.Context, inputs: tuple[str, ...], **options: Any) -> int:
    """Write the event timeline of each INPUT: a media file, a folder of them, or a pattern.

    The result is JSON: events with modality (audio, visual, audio_visual), label, onset, offset and score, what is
    known of the file, and what made the result. The timeline of a single file is also shown on the terminal. Results of
    a folder are journalled: what is done is not done again.
    """
    with starting(debug=options["debug"]):
        if options["output_dir"] is not None:
            return _parse_batch(inputs, options)
        _refuse_batch_options(context)
        return _parse_one(inputs, options)


def _parse_batch(inputs: Sequence[str], options: dict[str, Any]) -> int:
    if options["output"] is not None:
        raise click.UsageError("-o and --output-dir exclude each other")
    if options["annotations"] is not None:
        raise click.UsageError("--annotations is for one file; avvp evaluate --timelines scores a folder of results")
    named = name_all(inputs, options)

    from .storage import open_storage  # noqa: PLC0415

    storage = open_storage(options["output_dir"])
    bundle = load_bundle(options["weights"])
    from .console import Messages  # noqa: PLC0415 - from here on, imports take seconds

    with storage.alone():
        messages = Messages(quiet=options["quiet"], verbose=options["verbose"])
        return run_batch(_task(bundle, options), named, storage, options, messages)


def _refuse_batch_options(context: click.Context) -> None:
    given = [name for name in BATCH_NAMES if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given:
        options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        raise click.UsageError(f"{options[given[0]]} goes with --output-dir")


def _parse_one(inputs: Sequence[str], options: dict[str, Any]) -> int:
    path, output = _plan(inputs, options)
    bundle = load_bundle(options["weights"])

    from .console import Messages  # noqa: PLC0415 - from here on, imports take seconds

    messages = Messages(quiet=options["quiet"], verbose=options["verbose"])
    task = _task(bundle, options)
    truth = _read_truth(path, options)
    loaded = _load(task, options, messages)
    if truth is not None:
        truth.check(loaded.parser.config.labels)

    from .export import to_json  # noqa: PLC0415
    from .files import write_atomic  # noqa: PLC0415
    from .parse import parse_video  # noqa: PLC0415

    started, cause = time.monotonic(), None
    try:
        with messages:
            timeline = parse_video(
                path,
                weights=loaded,
                thresholds=task.thresholds(loaded),
                decoder=options["decoder"],
                batch_size=options["batch_size"] or _BATCH_SECONDS,
                timeout=options["decode_timeout"],
                progress=messages.progress(path),
            )
            content = to_json(timeline, segments=options["segments"])
            if output is None:
                _print(content)
            else:
                write_atomic(output, content)
            with contextlib.suppress(OSError):  # the result is there, whether or not anybody hears of it
                messages.finished(path, timeline, time.monotonic() - started, truth.of(timeline) if truth else None)
    except AVVPError as error:
        cause, failure = str(error).removeprefix(f"{printable(path)}: "), error
    except Exception as error:
        text = f"{type(error).__name__}: {printable(error)}"
        cause, failure = f"internal error, please report it: {text} (--debug shows more)", error
    else:
        return 0
    if options["debug"]:
        traceback.print_exception(failure)
    click.echo(f"Error: {printable(path)}: {cause}", err=True)
    return 1


def _read_truth(path: Path, options: dict[str, Any]) -> ClipTruth | None:
    if options["annotations"] is None:
        return None
    from .score_timelines import read_truth  # noqa: PLC0415

    return read_truth(options["annotations"], path)


def _plan(inputs: Sequence[str], options: dict[str, Any]) -> tuple[Path, Path | None]:
    """The input and where its result goes, None for standard output. Raises UsageError for what is wrong."""
    from .files import check_writable, collect_inputs, is_special  # noqa: PLC0415

    if not inputs:
        raise click.UsageError("Missing argument 'INPUT...'.")
    paths, problems = collect_inputs(inputs, recursive=options["recursive"])
    if problems:
        raise click.UsageError("\n  ".join(["some inputs cannot be used:", *problems]))
    if len(paths) > 1:
        raise click.UsageError(f"{len(paths)} inputs need --output-dir")
    if options["output"] is None or options["output"] == _STDOUT:
        return paths[0], None
    output = Path(options["output"])
    if output.is_dir():
        raise click.UsageError(f"{printable(output)} is a folder; use --output-dir for folders")
    if not is_special(output):
        with _misused():
            check_writable(output.resolve().parent)
    if output.exists() and paths[0].exists() and output.samefile(paths[0]):
        raise click.UsageError(f"{printable(output)} is an input; the result would overwrite it")
    return paths[0], output


@contextlib.contextmanager
def _misused() -> Iterator[None]:
    try:
        yield
    except (AVVPError, OSError) as error:
        raise click.UsageError(printable(error)) from error


def _task(bundle: Bundle, options: dict[str, Any]) -> ParseTask:
    """What is wrong without loading anything is found here."""
    from .bundle import known_labels  # noqa: PLC0415
    from .parsing import ParseTask  # noqa: PLC0415
    from .thresholds import apply_tables, read_thresholds  # noqa: PLC0415

    tables = read_thresholds(options["thresholds"]) if options["thresholds"] else {}
    levels = {"segment": options["threshold"], "video": options["threshold"]}
    if options["video_threshold"] is not None:
        levels["video"] = options["video_threshold"]
    if (labels := known_labels(bundle, options["weights_dir"])) is not None:
        apply_tables(tables, labels, **levels)  # an unknown class is found before the weights are loaded
    return ParseTask(
        bundle,
        read_settings(bundle.profile, options),
        weights_dir=options["weights_dir"],
        offline=options["offline"],
        tables=tables,
        levels=levels,
        segments=options["segments"],
    )


def _load(task: ParseTask, options: dict[str, Any], messages: Messages) -> Any:
    """Everything that takes time to load, after everything that can be wrong without it."""
    from .cli_options import set_threads  # noqa: PLC0415
    from .devices import resolve_devices  # noqa: PLC0415

    if len(resolve_devices(options["device"])) > 1:
        raise SetupError("one video is parsed on one device; several go with --output-dir")
    messages.note("loading networks")
    set_threads(options["threads"])
    with messages:
        loaded = task.load(messages.download)
    for name, digest in loaded.hashes.items():
        messages.note(f"weights {name} {digest}")
    task.thresholds(loaded)
    return loaded


def _print(content: bytes) -> None:

    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error
