"""Command avvp clips: cut events out of their videos."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import SetupError
from ...text import count_of, escape
from ..options.command import (
    ANY_PATH,
    OUTPUT_FOLDER,
    FiniteRange,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.event_media import MediaFinder
from ..options.event_search import LeastOptions, timelines_one_by_one
from ..options.groups import MEDIA_OPTION, DecodeTimeoutOptions, MessageOptions

if TYPE_CHECKING:
    from ...outputs.cuts.make_cuts import CutOptions, CutResult
    from ...outputs.cuts.plan import Cut
    from ...outputs.formats.read_folders import EventFiles, NamedTimeline
    from ...outputs.search.query import Query
    from ...outputs.search.search import SearchResult
    from ...timeline import Modality

_MODALITIES: dict[str, Modality] = {"audio": "audio", "visual": "visual", "both": "audio_visual"}
_LISTED = 20  # failures
_NOTICEABLE = 0.1  # seconds that cuts begin earlier than their events


@dataclass(frozen=True, kw_only=True)
class ClipsOptions(LeastOptions, DecodeTimeoutOptions, MessageOptions):
    """Options of avvp clips."""

    inputs: tuple[Path, ...] = field(metadata=argument(nargs=-1, required=True, type=ANY_PATH, metavar="EVENTS..."))
    output: Path = field(
        metadata=option("-o", "--output", type=OUTPUT_FOLDER, required=True, help="Folder for the cuts.")
    )
    media: Path | None = field(metadata=MEDIA_OPTION)
    classes: tuple[str, ...] = field(
        metadata=option("--class", multiple=True, metavar="CLASS", help="Cut the events of a class; may be repeated.")
    )
    modality: str | None = field(
        metadata=option(
            "--modality",
            type=click.Choice(list(_MODALITIES)),
            show_default="audio and visual",
            help="Cut the events of a modality.",
        )
    )
    pad: float = field(
        metadata=option(
            "--pad", type=FiniteRange(0), default=0.0, metavar="SECONDS", help="Time before and after each event."
        )
    )
    merge: bool = field(
        metadata=option(
            "--merge/--no-merge",
            default=True,
            help="Make one cut of events of a class that overlap with their padding, or one of each event.",
        )
    )
    exact: bool = field(
        metadata=option(
            "--exact", is_flag=True, help="Encode anew (H.264, AAC), so that a cut begins at its event, not before it."
        )
    )
    form: str = field(
        metadata=option(
            "-f", "--format", type=click.Choice(["csv", "json"]), default="csv", help="Format of the list of cuts."
        )
    )
    sheet: bool = field(
        metadata=option("--sheet/--no-sheet", default=True, help="Draw a contact sheet: a thumbnail of each cut.")
    )
    overwrite: bool = field(metadata=option("--overwrite", is_flag=True, help="Replace existing files in the folder."))


@command(
    ClipsOptions,
    examples=(
        "avvp clips events/ --media clips/ --class Dog --pad 1 -o cuts/",
        "avvp clips events/ --media clips/ --modality both --min-score 0.8 --exact -o cuts/",
        "avvp clips found.csv --media clips/ -o cuts/",
    ),
    notes="Without --exact, streams are copied without loss, and a cut begins with the last key frame before its event."
    " The same command resumes an interrupted run.",
)
def clips(options: ClipsOptions) -> int:
    """Cut events out of their videos, with a list and a contact sheet.

    EVENTS are files or folders of event files. Each file is named after the video, the times, the class and the
    modality of its events.
    """
    from ...outputs.cuts.make_cuts import CutOptions
    from ...outputs.formats.read_folders import EventFiles
    from ...outputs.search.results import describe_count
    from ...outputs.search.search import search

    with exit_2_on_error(debug=options.debug):
        record, media = EventFiles(), dict[tuple[str, Path], Path | None]()
        timelines = timelines_one_by_one(options.inputs, record, quiet=options.quiet)
        result = search(_with_media(timelines, MediaFinder(options.media), media), _query(options))
        if not result.matches:
            click.echo(describe_count(result), err=True)
            return 0
        cuts, without_media = _plan(result, media, options)
        _refuse_inputs(options.output, cuts, record)
    chosen = CutOptions(options.exact, options.form, options.sheet, options.overwrite, options.decode_timeout)
    done = _make_cuts(cuts, chosen, options)
    _report(done, cuts, without_media, options)
    return 1 if done.failures or without_media else 0


def _with_media(
    timelines: Iterable[NamedTimeline], finder: MediaFinder, media: dict[tuple[str, Path], Path | None]
) -> Iterator[NamedTimeline]:
    """Yield timelines, and note where the media of each are: only the events that are found are kept."""
    for read in timelines:
        media[read.name, read.source] = finder.find(read.timeline, read.source)
        yield read


def _query(options: ClipsOptions) -> Query:
    from ...outputs.search.query import Condition, Query

    modality = None if options.modality is None else _MODALITIES[options.modality]
    conditions = tuple(Condition(label, modality) for label in options.classes) or (Condition(None, modality),)
    return Query(conditions, any_of=True, min_score=options.min_score, min_duration=options.min_duration)


def _plan(
    result: SearchResult, media: dict[tuple[str, Path], Path | None], options: ClipsOptions
) -> tuple[list[Cut], list[str]]:
    """Return the cuts, and the names of timelines with events but without media.

    Raises:
        SetupError: no timeline has media.
    """
    from ...outputs.cuts.make_cuts import cut_suffix
    from ...outputs.cuts.plan import plan_cuts

    needed = dict.fromkeys((match.name, match.source) for match in result.matches)
    if options.media is not None and len(needed) > 1 and not options.media.is_dir():
        raise click.UsageError("--media: several timelines have several videos; name their folder")
    found = {key: path for key in needed if (path := media[key]) is not None}
    without = [name for name, source in needed if (name, source) not in found]
    if not found:
        raise SetupError(f"{count_of(without, 'timeline')} without their video; name it with --media")
    suffixes = {path: cut_suffix(path, exact=options.exact) for path in found.values()}
    return plan_cuts(result.matches, found, suffixes, pad=options.pad, merge=options.merge), without


def _refuse_inputs(folder: Path, cuts: Sequence[Cut], record: EventFiles) -> None:
    from ..options.event_outputs import refuse_inputs

    refuse_inputs([folder / cut.name for cut in cuts], [*record.files, *dict.fromkeys(cut.media for cut in cuts)])


def _make_cuts(cuts: Sequence[Cut], chosen: CutOptions, options: ClipsOptions) -> CutResult:
    from ...outputs.cuts.make_cuts import open_cut_folder
    from ..console import Console

    with contextlib.ExitStack() as stack:
        with exit_2_on_error(debug=options.debug):
            folder = stack.enter_context(open_cut_folder(options.output, cuts, chosen))
        with exit_1_on_error(debug=options.debug), Console(quiet=options.quiet) as console:
            return folder.write(console.count_progress("cutting"))


def _report(done: CutResult, cuts: Sequence[Cut], without_media: Sequence[str], options: ClipsOptions) -> None:
    """Print what failed, and unless --quiet is given what was done."""
    causes = dict.fromkeys(str(error) for error in done.failures)
    for cause in list(causes)[:_LISTED]:
        click.echo(f"Error: {cause}", err=True)
    if len(causes) > _LISTED:
        click.echo(f"Error: ... and {len(causes) - _LISTED} more", err=True)
    if without_media:
        click.echo(f"Error: {count_of(without_media, 'timeline')} without their video; name it with --media", err=True)
    if options.quiet:
        return
    kept = f", {done.kept} of them from an earlier run" if done.kept else ""
    click.echo(f"{escape(options.output)}: {len(done.done)} of {len(cuts)} cuts{kept}", err=True)
    lead = max((cut.start - finished.start for cut, finished in done.done), default=0.0)
    if not options.exact and lead > _NOTICEABLE:
        click.echo(
            f"streams are copied: cuts begin with a key frame, up to {lead:.1f} s before their start (the list has the"
            " start of each); --exact begins at the event",
            err=True,
        )
