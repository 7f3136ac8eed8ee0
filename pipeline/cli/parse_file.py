"""`avvp parse` of a single file: its result in the formats that are asked for, and its pictures."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...weights.manifest import load_bundle
from ..errors import AVVPError, SetupError
from ..text import escape
from .event_outputs import check_pictures, draw_pictures, name_targets, refuse_inputs, write_target
from .options import set_threads

if TYPE_CHECKING:
    from ...weights.manifest import Bundle
    from ..batch.parse_task import ParseTask
    from ..evaluation.evaluate_timelines import AnnotatedClip
    from ..features.extract import FeatureSet
    from ..inference.bundle import LoadedBundle
    from ..outputs.formats.targets import OutputFiles
    from ..timeline import Timeline
    from .console import Console

_STDOUT = "-"
_BATCH_SECONDS = 4  # of video at once


def parse_one(
    inputs: Sequence[str], options: dict[str, Any], make_task: Callable[[Bundle, dict[str, Any]], ParseTask]
) -> int:
    """Parse, write, show; returns the exit status. Raises what the person can mend before anything is decoded."""
    path, targets = _plan(inputs, options)
    bundle = load_bundle(options["weights"])

    from .console import Console

    console = Console(quiet=options["quiet"], verbose=options["verbose"])
    task = make_task(bundle, options)
    truth = _read_truth(path, options)
    loaded = _load(task, options, console)
    if truth is not None:
        truth.check(loaded.parser.config.labels)
    started, cause = time.monotonic(), None
    try:
        with console:
            features, timeline = _parse(path, task, loaded, options, console)
            kept = timeline if options["segments"] else timeline.without_probabilities()
            for target in targets:
                write_target(kept, target)
            known = truth.compare(timeline) if truth else None
            draw_pictures(timeline, options, media=path, truth=known, explained=(features, loaded))
            with contextlib.suppress(OSError):  # the result is there, whether or not anybody hears of it
                console.finished(path, timeline, time.monotonic() - started, known)
    except AVVPError as error:
        cause, failure = str(error).removeprefix(f"{escape(path)}: "), error
    except Exception as error:
        text = f"{type(error).__name__}: {escape(error)}"
        cause, failure = f"internal error, please report it: {text} (--debug shows more)", error
    else:
        return 0
    if options["debug"]:
        traceback.print_exception(failure)
    click.echo(f"Error: {escape(path)}: {cause}", err=True)
    return 1


def _parse(
    path: Path, task: ParseTask, loaded: LoadedBundle, options: Mapping[str, Any], console: Console
) -> tuple[FeatureSet, Timeline]:
    from ..inference.parse_video import extract_with, make_timeline
    from ..outputs.postprocess import refine

    features = extract_with(
        loaded,
        path,
        decoding=task.settings.decoding,
        batch_size=options["batch_size"] or _BATCH_SECONDS,
        progress=console.progress(path),
    )
    return features, refine(make_timeline(features, loaded, task.thresholds(loaded)), task.refinement)


def _read_truth(path: Path, options: Mapping[str, Any]) -> AnnotatedClip | None:
    if options["annotations"] is None:
        return None
    from ..datasets.annotations import read_annotations
    from ..evaluation.evaluate_timelines import find_annotated_clip

    return find_annotated_clip(read_annotations(options["annotations"]), path.stem)


def _plan(inputs: Sequence[str], options: Mapping[str, Any]) -> tuple[Path, list[OutputFiles]]:
    """The input and where its results go. Raises UsageError and SetupError for what is wrong."""
    from ..files import check_writable, is_device_or_pipe
    from .inputs import collect_inputs

    if not inputs:
        raise click.UsageError("Missing argument 'INPUT...'.")
    paths, problems = collect_inputs(inputs, recursive=options["recursive"])
    if problems:
        raise click.UsageError("\n  ".join(["some inputs cannot be used:", *problems]))
    if len(paths) > 1:
        raise click.UsageError(f"{len(paths)} inputs need --output-dir")
    output = None if options["output"] in {None, _STDOUT} else Path(options["output"])
    if output is not None and output.is_dir():
        raise click.UsageError(f"{escape(output)} is a folder; use --output-dir for folders")
    targets = name_targets(output, options["formats"])
    written = [file for target in targets for file in target.paths] + check_pictures(options)
    for file in written:
        if not is_device_or_pipe(file):
            with _misused():
                check_writable(file.resolve().parent)
    refuse_inputs(written, paths)
    if options["segments"] and not any(target.format.name == "json" for target in targets):
        raise click.UsageError("--segments goes into the JSON result, and none is asked for")
    if options["embed_video"]:
        from ..outputs.html.page import check_embeddable

        check_embeddable(paths[0])
    return paths[0], targets


@contextlib.contextmanager
def _misused() -> Iterator[None]:
    try:
        yield
    except (AVVPError, OSError) as error:
        raise click.UsageError(escape(error)) from error


def _load(task: ParseTask, options: Mapping[str, Any], console: Console) -> LoadedBundle:
    """Everything that takes time to load, after everything that can be wrong without it."""
    from ..devices import resolve_devices

    if len(resolve_devices(options["device"])) > 1:
        raise SetupError("one video is parsed on one device; several go with --output-dir")
    console.note("loading networks")
    set_threads(options["threads"])
    with console:
        loaded = task.load(console.download)
    for name, digest in loaded.hashes.items():
        console.note(f"weights {name} {digest}")
    task.thresholds(loaded)
    task.refinement.check(loaded.parser.config.labels)
    if options["explain"] is not None:
        from ..outputs.plots.attention import check_explainable

        check_explainable(loaded.parser)
    return loaded
