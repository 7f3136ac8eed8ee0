"""What commands share that write events: formats, what is done to events first, pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import OutputError, SetupError
from ..files import is_file
from ..text import escape
from .options import Command, FiniteRange

if TYPE_CHECKING:
    from ..features.extract import FeatureSet
    from ..inference.bundle import LoadedBundle
    from ..outputs.formats.read_folders import EventFiles
    from ..outputs.formats.targets import OutputFiles
    from ..outputs.postprocess import PostProcessing
    from ..timeline import GroundTruth, Timeline

formats_option = click.option(
    "-f",
    "--format",
    "formats",
    multiple=True,
    metavar="NAME,...",
    help="json, csv, tsv, llp, vtt, srt, audacity, textgrid, eaf, rttm or all; by default what the suffix of the"
    " output says, else json.",
)

_REFINEMENTS = (
    click.option("--classes", metavar="NAME,...", help="Keep the events of these classes only."),
    click.option(
        "--merge-gap", type=FiniteRange(0), metavar="SECONDS", help="Join events of a class at most so far apart."
    ),
    click.option("--min-duration", type=FiniteRange(0), metavar="SECONDS", help="Drop shorter events."),
    click.option("--min-score", type=FiniteRange(0, 1), metavar="PROBABILITY", help="Drop less sure events."),
)


def refinement_options(command: Command) -> Command:
    """What is done to events before they are written; the result says so."""
    for option in reversed(_REFINEMENTS):
        command = option(command)
    return command


def read_refinement(options: Mapping[str, Any]) -> PostProcessing:
    """What the options ask for. Raises SetupError for a list of no classes."""
    from ..outputs.postprocess import PostProcessing

    named = options["classes"]
    classes = None if named is None else tuple(name.strip() for name in named.split(",") if name.strip())
    if classes == ():
        raise SetupError("--classes: name at least one")
    return PostProcessing(classes, options["merge_gap"], options["min_duration"], options["min_score"])


def read_timelines(inputs: Iterable[Path], options: Mapping[str, Any]) -> EventFiles:
    """Of files of events, and of folders of them, refined as the options ask; what was left out is told.

    Raises SetupError, FormatError.
    """
    from ..outputs.formats.read_folders import read_event_files
    from ..outputs.postprocess import refine

    refinement, found = read_refinement(options), read_event_files(inputs)
    if not options["quiet"]:
        for note in found.notes:
            click.echo(note, err=True)
    found.timelines = {name: refine(timeline, refinement) for name, timeline in found.timelines.items()}
    return found


def name_targets(output: Path | None, formats: tuple[str, ...]) -> list[OutputFiles]:
    """The files that are asked for; without a name one form, without files, for standard output.

    Raises SetupError for an unknown format, and for several files without a name.
    """
    from ..outputs.formats.registry import FORMATS
    from ..outputs.formats.targets import OutputFiles, parse_formats, resolve_targets

    chosen = parse_formats(formats)
    if output is not None:
        return resolve_targets(output, chosen)
    if len(chosen) > 1 or any(len(form.suffixes) > 1 for form in chosen):
        raise SetupError(f"{' and '.join(form.name for form in chosen)}: several files need a name: -o FILE")
    return [OutputFiles(chosen[0] if chosen else FORMATS["json"], ())]


def refuse_inputs(written: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises SetupError where a result would take the place of what it is made from, or of another result."""
    given = {_place(path) for path in inputs if is_file(path)}
    taken = set[Path]()
    for path in written:
        if is_file(path) and _place(path) in given:
            raise SetupError(f"{escape(path)} is an input; the result would overwrite it")
        if path.absolute() in taken:
            raise SetupError(f"{escape(path)}: two results would be written to it")
        taken.add(path.absolute())


def _place(path: Path) -> tuple[int, int]:
    """The same for all names of a file."""
    status = path.stat()
    return status.st_dev, status.st_ino


def write_target(timeline: Timeline, target: OutputFiles) -> None:
    """To its files, or to standard output. Raises OutputError."""
    from ..outputs.formats.registry import write_events

    if target.paths:
        write_events(timeline, target.format, target.paths)
    else:
        (content,) = target.format.write(timeline)
        print_bytes(content)


def print_bytes(content: bytes) -> None:
    """To standard output. Raises OutputError."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


PICTURES = ("plot", "html", "explain")
_PICTURES = (
    click.option(
        "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Picture of the timeline: png, svg or pdf."
    ),
    click.option(
        "--html", type=click.Path(dir_okay=False, path_type=Path), help="Page that plays the video beside its timeline."
    ),
    click.option("--embed-video", is_flag=True, help="Put the video into the page, which grows by a third of it more."),
)
explain_option = click.option(
    "--explain",
    type=click.Path(dir_okay=False, path_type=Path),
    help="LEAP's attention from classes to seconds, in each block: png, svg, pdf or npz.",
)


def picture_options(command: Command) -> Command:
    """What shows a timeline to people."""
    for option in reversed(_PICTURES):
        command = option(command)
    return command


def check_pictures(options: Mapping[str, Any]) -> list[Path]:
    """The pictures that are asked for. Raises SetupError for suffixes that are none."""
    from ..outputs.html.page import PAGE_SUFFIXES

    known: dict[str, tuple[str, ...]] = {"html": PAGE_SUFFIXES}
    if options["plot"] is not None:
        from ..outputs.plots.timeline import PLOT_SUFFIXES

        known["plot"] = PLOT_SUFFIXES
    if options.get("explain") is not None:
        from ..outputs.plots.attention import MAP_SUFFIXES

        known["explain"] = MAP_SUFFIXES
    for name, suffixes in known.items():
        path = options[name]
        if path is not None and path.suffix.lower() not in suffixes:
            raise SetupError(f"--{name} {escape(path)}: expected a name that ends in {', '.join(suffixes)}")
    if options["embed_video"] and options["html"] is None and options.get("output_dir") is None:
        raise SetupError("--embed-video goes with --html")
    return [options[name] for name in PICTURES if options.get(name) is not None]


def draw_pictures(
    timeline: Timeline,
    options: Mapping[str, Any],
    *,
    media: Path | None,
    truth: GroundTruth | None = None,
    explained: tuple[FeatureSet, LoadedBundle] | None = None,
) -> None:
    """Those that are asked for. explained: what attention is computed of. Raises MediaError, OutputError."""
    if options["plot"] is not None:
        from ..outputs.plots.timeline import plot_timeline

        plot_timeline(timeline, options["plot"], media=media, truth=truth)
    if options["html"] is not None:
        from ..outputs.html.page import write_page

        write_page(timeline, options["html"], media=media, truth=truth, embed=options["embed_video"])
    if options.get("explain") is not None and explained is not None:
        from ..outputs.plots.attention import explain_features, write_maps

        features, loaded = explained
        maps = explain_features(features, loaded.parser, loaded.device)
        present = tuple(dict.fromkeys(event.label for event in timeline.events))
        write_maps(maps, options["explain"], classes=present)
