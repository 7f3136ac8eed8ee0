"""Parse a single file for avvp parse: results, plots, terminal output."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...weights.bundles import load_bundle
from ..errors import AVVPError, MediaError, SetupError
from ..files import make_folder_of
from ..text import escape
from .missing_weights import provide_weights
from .options.batch_options import read_decoding
from .options.event_outputs import (
    check_outputs,
    check_suffix,
    name_targets,
    output_path,
    print_written,
    refuse_inputs,
    write_plots,
    write_target,
)
from .options.groups import set_torch_threads
from .parse_options import ParseOptions, make_parse_task, read_decisions

if TYPE_CHECKING:
    from ...weights.manifest import Bundle
    from ..batch.parse_task import ParseTask
    from ..evaluation.evaluate_timelines import AnnotatedClip
    from ..features.extract import FeatureSet
    from ..inference.bundle import LoadedBundle
    from ..outputs.formats.targets import OutputFiles
    from ..outputs.plots.attention_maps import AttentionMaps
    from ..timeline import Timeline
    from .console import Console

_BATCH_SECONDS = 4  # of video per batch
_NEXT = "-o events.json writes the events, --html page.html a page that plays them with the video, -f csv a table"


def parse_one(options: ParseOptions) -> int:
    """Parse one file, write its results and print its timeline.

    Args:
        options: of the current command.

    Returns:
        The exit status: 1 if the file cannot be parsed or a result cannot be written, else 0.

    Raises:
        click.UsageError, SetupError, WeightsError: found before decoding starts.
    """
    path, targets, outputs = _plan_files(options)
    bundle = load_bundle(options.weights, options.source())

    _decode_ahead(path, bundle, options)

    from .console import Console

    console = Console(quiet=options.quiet, verbose=options.verbose)
    decisions = read_decisions(bundle, options)
    clip = _read_annotated_clip(path, options)
    try:
        provide_weights(bundle, options, console, check=lambda: _check_media(path, options))
    except MediaError as error:
        return _report(path, error, options)
    with console:
        console.detail("loading networks")
        console.busy("loading networks")
        task = make_parse_task(bundle, options, decisions)
        _check_device(options.device)
        set_torch_threads(options.threads)
        loaded = _load(task, options, console)
    if clip is not None:
        clip.check(loaded.parser.config.labels)
    started = time.monotonic()
    try:
        with console:
            features, timeline = _parse(path, task, loaded, options, console)
            written = timeline if options.segments else timeline.without_probabilities()
            console.clear()
            for target in targets:
                write_target(written, target)
            truth = clip.compare(timeline) if clip else None
            maps = None if options.explain is None else _write_attention(options.explain, timeline, features, loaded)
            write_plots(timeline, options, media=path, truth=truth, attention=maps)
            with contextlib.suppress(OSError):  # a closed terminal must not turn a written result into a failure
                console.print_result(path, timeline, time.monotonic() - started, truth)
                print_written(outputs, quiet=options.quiet)
                if not targets and not outputs:
                    console.info(_NEXT)
    except Exception as error:
        return _report(path, error, options)
    return 0


def _report(path: Path, error: Exception, options: ParseOptions) -> int:
    """Print why a file has no result; return the exit status."""
    cause = str(error).removeprefix(f"{escape(path)}: ")
    if not isinstance(error, AVVPError):
        text = f"{type(error).__name__}: {escape(error)}"
        cause = f"internal error, please report it: {text} (--debug shows more)"
    if options.debug:
        traceback.print_exception(error)
    click.echo(f"Error: {escape(path)}: {cause}", err=True)
    return 1


def _check_media(path: Path, options: ParseOptions) -> None:
    """Raise MediaError for a file that is not media, before anything is downloaded for it."""
    from ..decode.open_media import open_media
    from ..decode.options import DecodeOptions

    open_media(path, decoding=DecodeOptions(timeout=options.decode_timeout)).close()


def _wants_document(options: ParseOptions) -> bool:
    """Return whether the result goes to standard output where -o does not say so.

    Whoever sits before a terminal sees the timeline instead, and not the hundreds of lines that a program would read.
    """
    asked = options.output is not None or bool(options.formats) or options.segments or options.quiet
    return asked or not (sys.stdout.isatty() and sys.stderr.isatty())


def _decode_ahead(path: Path, bundle: Bundle, options: ParseOptions) -> None:
    """Begin to decode while torch is imported and networks are loaded, unless their files are to be downloaded."""
    from ...extractors.sampling import STREAMS
    from ...weights.locate import bundle_paths
    from ..preprocess.worker_process import decode_ahead

    _, missing = bundle_paths(bundle, options.weights_dir)
    if not missing:
        decode_ahead(path, STREAMS, bundle.profile, read_decoding(bundle.profile, options, options))


def _parse(
    path: Path, task: ParseTask, loaded: LoadedBundle, options: ParseOptions, console: Console
) -> tuple[FeatureSet, Timeline]:
    from ..inference.parse_video import extract_with, make_timeline
    from ..outputs.postprocess import refine

    features = extract_with(
        loaded,
        path,
        decoding=task.settings.decoding,
        batch_size=options.batch_size or _BATCH_SECONDS,
        progress=console.decode_progress(path),
    )
    return features, refine(make_timeline(features, loaded, task.thresholds(loaded)), task.refinement)


def _write_attention(path: Path, timeline: Timeline, features: FeatureSet, loaded: LoadedBundle) -> AttentionMaps:
    """Write the file of --explain, and return what it holds for the page."""
    from ..outputs.plots.attention import explain_features, write_maps

    maps = explain_features(features, loaded.parser, loaded.device)
    make_folder_of(path)
    write_maps(maps, path, classes=tuple(dict.fromkeys(event.label for event in timeline.events)))
    return maps


def _read_annotated_clip(path: Path, options: ParseOptions) -> AnnotatedClip | None:
    if options.annotations is None:
        return None
    from ..evaluation.evaluate_timelines import find_annotated_clip
    from .options.user_annotations import read_user_annotations

    return find_annotated_clip(read_user_annotations(options.annotations, quiet=options.quiet), path.stem)


def _plan_files(options: ParseOptions) -> tuple[Path, list[OutputFiles], list[Path]]:
    """Return the input, the results to write, and all files to write. Raises click.UsageError and SetupError."""
    from .options.inputs import collect_inputs

    if not options.inputs:
        raise click.UsageError("Missing argument 'INPUT...'.")
    paths, problems = collect_inputs(options.inputs, recursive=options.recursive, quiet=options.quiet)
    if problems:
        raise click.UsageError("\n  ".join(["some inputs cannot be used:", *problems]))
    if len(paths) > 1:
        raise click.UsageError(f"{len(paths)} inputs need --output-dir")
    output = output_path(options.output)
    if output is not None and output.is_dir():
        raise click.UsageError(f"{escape(output)} is a folder; use --output-dir for folders")
    targets = name_targets(output, options.formats) if _wants_document(options) else []
    outputs = [file for target in targets for file in target.paths] + options.plot_files()
    if options.explain is not None:
        from ..outputs.plots.attention_maps import MAP_SUFFIXES

        check_suffix("--explain", options.explain, MAP_SUFFIXES)
        outputs.append(options.explain)
    options.check_page_options(pages=options.html is not None)
    check_outputs(outputs)
    refuse_inputs(outputs, paths)
    if options.segments and not any(target.format.name == "json" for target in targets):
        raise click.UsageError("--segments goes into the JSON result, and none is asked for")
    if options.embed_video:
        from ..outputs.html.page import check_embeddable

        check_embeddable(paths[0])
    return paths[0], targets, outputs


def _check_device(device: str) -> None:
    """Raise SetupError for an unknown device, and for several devices."""
    from ..devices import resolve_devices

    if len(resolve_devices(device)) > 1:
        raise SetupError("one video is parsed on one device; several devices go with --output-dir")


def _load(task: ParseTask, options: ParseOptions, console: Console) -> LoadedBundle:
    """Load the networks and check what depends on them. Raises SetupError, WeightsError."""
    loaded = task.load(console.download_progress)
    for name, digest in loaded.hashes.items():
        console.detail(f"weights {name} {digest}")
    task.thresholds(loaded)
    task.refinement.check(loaded.parser.config.labels)
    if options.explain is not None:
        from ..outputs.plots.attention import check_explainable

        check_explainable(loaded.parser)
    return loaded
