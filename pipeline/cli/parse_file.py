"""Parse a single file for avvp parse: results, plots, terminal output."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ..download.reasons import DownloadError
from ..embeddings.content_hashes import may_have_embeddings
from ..errors import AVVPError, MediaError, OutputError, SetupError
from ..files import make_folder_of
from ..text import escape
from .calibrated_run import check_quantized
from .missing_weights import provide_weights
from .options.batch_options import read_decoding
from .options.command import given_flags
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
from .options.media_options import CookieOptions, WebOptions
from .parse_options import Decisions, ParseOptions, make_parse_task, read_bundle, read_decisions
from .single_input import SingleInput, is_local, open_input, planned_name

if TYPE_CHECKING:
    from ...weights.manifest import Bundle
    from ..batch.parse_task import ParseTask
    from ..embeddings.embeddings import Embeddings
    from ..embeddings.store import EmbeddingStore
    from ..evaluation.evaluate_timelines import AnnotatedClip
    from ..features.extract import FeatureSet
    from ..inference.bundle import LoadedBundle
    from ..outputs.formats.targets import OutputFiles
    from ..outputs.plots.attention_maps import AttentionMaps
    from ..timeline import Timeline
    from .console import Console

_ONE_ADDRESS = "- and addresses are parsed alone; avvp download fetches many"
_NEXT = "-o events.json writes the events, --html page.html a page, -f csv a table"


class _Results(NamedTuple):
    """What is written: results in formats, and all files, with plots and pages."""

    targets: list[OutputFiles]
    files: list[Path]


def parse_one(options: ParseOptions) -> int:
    """Parse one file, write its results and print its timeline.

    Args:
        options: of the current command.

    Returns:
        The exit status: 1 if the file cannot be parsed or a result cannot be written, else 0.

    Raises:
        click.UsageError, SetupError, WeightsError: found before decoding starts.
    """
    planned, results = _plan_files(options)
    bundle = read_bundle(options)
    check_quantized(bundle, options)
    options.check_embeddings(bundle)

    from .console import Console

    console = Console(quiet=options.quiet, verbose=options.verbose)
    decisions = read_decisions(bundle, options)
    argument = options.inputs[0]
    if not is_local(argument):
        provide_weights(bundle, options, console)  # before a download that they could make useless
    try:
        with open_input(argument, planned, options, console) as given:
            return _parse_input(given, bundle, decisions, results, options)
    except (DownloadError, MediaError, OutputError) as error:
        return _report(planned, error, options)


def _parse_input(
    given: SingleInput, bundle: Bundle, decisions: Decisions, results: _Results, options: ParseOptions
) -> int:
    """Parse an input that is a file, see `parse_one`."""
    from .console import Console

    path, console = given.path, Console(quiet=options.quiet, verbose=options.verbose)
    _check_embeddable(path, options)
    store = options.embedding_store(bundle)
    may_be_kept = store is not None and may_have_embeddings(path, store.folder)
    if not may_be_kept:
        _decode_ahead(path, bundle, options)
    clip = _read_annotated_clip(given.shown, options)
    try:
        provide_weights(bundle, options, console, check=lambda: _check_media(path, options))
    except MediaError as error:
        return _report(given.shown, error, options)
    with console:
        console.detail("loading networks")
        console.busy("loading networks")
        task = make_parse_task(bundle, options, decisions)
        _check_device(options.device)
        set_torch_threads(options.threads)
        task = _choose_precision(task, console)
        loaded, kept = _load(path, task, store if may_be_kept else None, options, console)
    if clip is not None:
        clip.check(loaded.parser.config.labels)
    started = time.monotonic()
    try:
        with console:
            features = kept.features() if kept else _extract(given, task, loaded, store, options, console=console)
            timeline = _decide(given, features, task, loaded)
            written = timeline if options.segments else timeline.without_probabilities()
            console.clear()
            for target in results.targets:
                write_target(written, target)
            truth = clip.compare(timeline) if clip else None
            maps = None if options.explain is None else _write_attention(options.explain, timeline, features, loaded)
            write_plots(timeline, options, media=path, truth=truth, attention=maps, kept=given.is_kept, note=given.note)
            with contextlib.suppress(OSError):  # a closed terminal must not turn a written result into a failure
                console.print_result(given.shown, timeline, time.monotonic() - started, truth)
                print_written(results.files, quiet=options.quiet)
                if not results.targets and not results.files:
                    console.info(_NEXT)
    except Exception as error:
        return _report(given.shown, error, options)
    return 0


def _report(path: Path, error: Exception, options: ParseOptions) -> int:
    """Print why a file has no result; return the exit status."""
    cause = error.cause if isinstance(error, MediaError) else str(error).removeprefix(f"{escape(path)}: ")
    if not isinstance(error, AVVPError):
        text = f"{type(error).__name__}: {escape(error)}"
        cause = f"internal error, please report it: {text} (--debug shows more)"
    if options.debug:
        traceback.print_exception(error)
    about = "" if isinstance(error, DownloadError) else f"{escape(path)}: "  # it names the address
    click.echo(f"Error: {about}{cause}", err=True)
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
    from ...extractors.profiles import get_profile
    from ...weights.locate import bundle_paths
    from ..preprocess.worker_process import decode_ahead

    _, missing = bundle_paths(bundle, options.weights_dir)
    if not missing:
        decoding = options.select(read_decoding(bundle.profile, options, options))
        decode_ahead(path, get_profile(bundle.profile).streams, bundle.profile, decoding)


def _extract(
    given: SingleInput,
    task: ParseTask,
    loaded: LoadedBundle,
    store: EmbeddingStore | None,
    options: ParseOptions,
    *,
    console: Console,
) -> FeatureSet:
    """Compute the features of a file, and keep those of an open bundle."""
    from ..batch.compute_workers import file_batches
    from ..inference.parse_video import extract_with

    decoding = options.select(task.settings.decoding)

    def extract() -> FeatureSet:
        with file_batches(loaded.extractors, cores=options.threads, seconds=options.batch_size) as batches:
            return extract_with(
                loaded,
                given.path,
                decoding=decoding,
                batches=batches,
                progress=console.decode_progress(given.shown),
            )

    if store is None:
        return extract()
    name, tell = given.address or str(given.shown), console.info
    return store.provide(given.path, loaded.extractors, decoding, extract, name=name, tell=tell)


def _decide(given: SingleInput, features: FeatureSet, task: ParseTask, loaded: LoadedBundle) -> Timeline:
    from ..features.compute_lanes import one_core
    from ..inference.parse_video import make_timeline
    from ..outputs.postprocess import refine

    with one_core():
        timeline = given.name_media(make_timeline(features, loaded, task.thresholds(loaded)))
    return refine(timeline, task.refinement)


def _write_attention(path: Path, timeline: Timeline, features: FeatureSet, loaded: LoadedBundle) -> AttentionMaps:
    """Write the file of --explain, and return what it holds for the page."""
    from ..outputs.plots.attention import explain_features, write_maps

    maps = explain_features(features, loaded.trained_parser, loaded.device)
    make_folder_of(path)
    write_maps(maps, path, classes=tuple(dict.fromkeys(event.label for event in timeline.events)))
    return maps


def _read_annotated_clip(path: Path, options: ParseOptions) -> AnnotatedClip | None:
    if options.annotations is None:
        return None
    from ..evaluation.evaluate_timelines import find_annotated_clip
    from .options.user_annotations import read_user_annotations

    return find_annotated_clip(read_user_annotations(options.annotations, quiet=options.quiet), path.stem)


def _plan_files(options: ParseOptions) -> tuple[Path, _Results]:
    """Return the input and what is written. Raises click.UsageError and SetupError."""
    from ..decode.options import DEFAULT_OPTIONS
    from .options.inputs import collect_inputs

    if not options.inputs:
        raise click.UsageError("Missing argument 'INPUT...'.")
    options.select(DEFAULT_OPTIONS)  # refuses what is no part
    local = [argument for argument in options.inputs if is_local(argument)]
    paths, problems = collect_inputs(local, recursive=options.recursive, quiet=options.quiet)
    if len(local) == len(options.inputs) and (flags := given_flags(CookieOptions, WebOptions)):
        raise click.UsageError(f"{flags[0]} goes with an address")
    paths += [planned_name(argument) for argument in options.inputs if not is_local(argument)]
    if problems:
        raise click.UsageError("\n  ".join(["some inputs cannot be used:", *problems]))
    if len(paths) > 1:
        many = f"{len(paths)} inputs need --output-dir, a folder for their results: --output-dir events/"
        raise click.UsageError(many if len(local) == len(options.inputs) else _ONE_ADDRESS)
    output = output_path(options.output)
    if output is not None and output.is_dir():
        raise click.UsageError(f"{escape(output)} is a folder; use --output-dir for folders")
    targets = name_targets(output, options.formats) if _wants_document(options) else []
    outputs = [file for target in targets for file in target.paths] + options.plot_files()
    if options.explain is not None:
        from ..outputs.plots.attention_maps import MAP_SUFFIXES

        check_suffix("--explain", options.explain, MAP_SUFFIXES)
        if options.start:
            raise click.UsageError("--explain is for videos from their beginning; leave out --start")
        outputs.append(options.explain)
    options.check_page_options(pages=options.html is not None)
    check_outputs(outputs)
    refuse_inputs(outputs, paths)
    if options.segments and not any(target.format.name == "json" for target in targets):
        raise click.UsageError("--segments goes into the JSON result, and none is asked for")
    return paths[0], _Results(targets, outputs)


def _check_embeddable(path: Path, options: ParseOptions) -> None:
    """Raise SetupError or MediaError for a video that is too large for the page."""
    if options.embed_video:
        from ..outputs.html.page import check_embeddable

        check_embeddable(path)


def _check_device(device: str) -> None:
    """Raise SetupError for an unknown device, and for several devices."""
    from ..devices import resolve_devices

    if len(resolve_devices(device)) > 1:
        raise SetupError("one video is parsed on one device; several devices go with --output-dir")


def _choose_precision(task: ParseTask, console: Console) -> ParseTask:
    """Choose what the user leaves open of the precision. Raises SetupError."""
    from ..computing.choose import choose
    from ..devices import resolve_device

    settings = task.settings
    if settings.precision.is_chosen:
        return task
    console.busy("choosing backend and precision")
    choice = choose(settings.precision, resolve_device(settings.device), settings.threads)
    if choice.reason:
        console.info(choice.reason)
    console.busy("loading networks")
    return replace(task, settings=replace(settings, precision=choice.precision))


def _load(
    path: Path, task: ParseTask, store: EmbeddingStore | None, options: ParseOptions, console: Console
) -> tuple[LoadedBundle, Embeddings | None]:
    """Load the networks and check what depends on them.

    Args:
        path: of the media file.
        task: of the command.
        store: which may have the file's embeddings; None where it has not.
        options: of the current command.
        console: for notes.

    Returns:
        The networks, and the embeddings if they are kept: then without the networks that would compute them.

    Raises:
        SetupError, WeightsError: they cannot be loaded, or something does not fit.
    """
    from ..features.compute_lanes import one_core

    kept = None
    with one_core():
        loaded = None
        if store is not None:
            loaded = task.outline(console.download_progress)
            _, kept = store.find(path, loaded.extractors, options.select(task.settings.decoding))
        if kept is not None:
            console.detail(f"embeddings of {kept.seconds} s are kept: nothing is decoded")
        if loaded is None or kept is None:
            loaded = task.load(console.download_progress)
    for note in loaded.notes:
        console.info(note)
    for name, digest in loaded.hashes.items():
        console.detail(f"weights {name} {digest}")
    task.thresholds(loaded)
    task.refinement.check(loaded.parser.config.labels)
    if options.explain is not None:
        from ..outputs.plots.attention import check_explainable

        check_explainable(loaded.trained_parser)
    return loaded, kept
