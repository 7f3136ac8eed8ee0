"""Command avvp report: draw plots and pages of event files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import DatasetError, SetupError
from ...files import is_file, make_folder
from ...text import escape, first_few
from ..options.command import (
    ANY_PATH,
    EXISTING_FOLDER,
    EXISTING_PATH,
    OUTPUT_FOLDER,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.event_media import MediaFinder
from ..options.event_outputs import PlotOptions, PostProcessingOptions, read_timelines, refuse_inputs, write_plots
from ..options.groups import MessageOptions

if TYPE_CHECKING:
    from ...timeline import GroundTruth, Timeline


@dataclass(frozen=True, kw_only=True)
class ReportOptions(PlotOptions, PostProcessingOptions, MessageOptions):
    """Options of avvp report."""

    inputs: tuple[Path, ...] = field(metadata=argument(nargs=-1, required=True, type=ANY_PATH, metavar="EVENTS..."))
    output_dir: Path | None = field(
        metadata=option("--output-dir", type=OUTPUT_FOLDER, help="Folder for one page per timeline and index.html.")
    )
    media: Path | None = field(
        metadata=option(
            "--media",
            type=EXISTING_PATH,
            show_default="the video beside the event file",
            help="The video, or the folder with the videos. Paths that event files state are not opened.",
        )
    )
    annotations: Path | None = field(
        metadata=option(
            "--annotations", type=EXISTING_FOLDER, help="Annotations in the format of LLP, drawn beside the events."
        )
    )


@command(
    ReportOptions,
    examples=(
        "avvp report events.json --plot timeline.pdf",
        "avvp report events.json --html report.html --media video.mp4",
        "avvp report events/ --media clips/ --output-dir report/",
    ),
)
def report(options: ReportOptions) -> int:
    """Draw events as a plot, a page, or a folder of pages.

    EVENTS are files or folders of event files. A page plays the video beside its timeline, where events can be
    filtered, corrected, and saved as JSON or in the format of LLP. It is a single file and loads nothing from the
    network.
    """
    from ...outputs.html.index import write_index
    from ...outputs.html.page import write_page

    with exit_2_on_error(debug=options.debug):
        plot_files = options.plot_files()
        folder = options.output_dir
        if options.embed_video and options.html is None and folder is None:
            raise SetupError("--embed-video goes with --html")
        if (folder is None) == (not plot_files):
            raise click.UsageError("choose what to draw: --plot and --html for one file, or --output-dir")
        events = read_timelines(options.inputs, options.post_processing(), quiet=options.quiet)
        timelines = events.timelines
        if folder is None and len(timelines) > 1:
            raise click.UsageError(f"{len(timelines)} timelines need --output-dir")
        if options.media is not None and len(timelines) > 1 and not options.media.is_dir():
            raise click.UsageError("--media: several timelines have several videos; name their folder")
        truths = _read_truths(timelines, options.annotations, quiet=options.quiet)
        finder = MediaFinder(options.media)
        media = {name: finder.find(timeline, events.sources[name]) for name, timeline in timelines.items()}
        notes = {
            name: f"{finder.describe_missing(timeline, events.sources[name])}; name it with avvp report --media"
            for name, timeline in timelines.items()
        }
        pages = {} if folder is None else _plan_pages(folder, timelines)
        inputs = [*events.files, *(path for path in media.values() if path is not None)]
        refuse_inputs([*plot_files, *pages.values()], inputs)
    with exit_1_on_error(debug=options.debug):
        if folder is None:
            (name,) = timelines
            write_plots(timelines[name], options, media=media[name], truth=truths[name], note=notes[name])
        else:
            for name, page in pages.items():
                write_page(
                    timelines[name], page, media=media[name], truth=truths[name], embed=options.embed_video,
                    note=notes[name],
                )  # fmt: skip
            write_index(folder, {page: timelines[name] for name, page in pages.items()}, folder.resolve().name)
    if not options.quiet:
        if missing := [name for name, path in media.items() if path is None]:
            click.echo(
                f"{len(missing)} without their video ({first_few(missing)}); {notes[missing[0]]}",
                err=True,
            )
        if folder is not None:
            click.echo(f"{escape(folder / 'index.html')}: {len(timelines)} pages", err=True)
    return 0


def _plan_pages(folder: Path, timelines: Iterable[str]) -> dict[str, Path]:
    """Map timelines to pages. Raises SetupError if a page would overwrite the index, or a file not written by avvp."""
    from ...outputs.formats.targets import result_path
    from ...outputs.html.index import INDEX
    from ...outputs.html.page import is_avvp_page

    pages = {name: result_path(folder, name, ".html") for name in timelines}
    for page in pages.values():
        if page.name == INDEX:
            raise SetupError(f"{escape(page)}: is the list of all pages; rename the timeline of this name")
    for page in (*pages.values(), folder / INDEX):
        if is_file(page) and not is_avvp_page(page):
            raise SetupError(f"{escape(page)}: was not written by avvp; choose another folder")
    make_folder(folder)
    return pages


def _read_truths(
    timelines: Mapping[str, Timeline], folder: Path | None, *, quiet: bool
) -> dict[str, GroundTruth | None]:
    """Map timelines to their annotations. Raises DatasetError for a clip without annotations."""
    if folder is None:
        return dict.fromkeys(timelines)
    from ...evaluation.evaluate_timelines import find_annotated_clip
    from ..options.user_annotations import read_user_annotations

    annotations = read_user_annotations(folder, quiet=quiet)
    truths: dict[str, GroundTruth | None] = {}
    for name, timeline in timelines.items():
        try:
            clip = find_annotated_clip(annotations, name)
        except DatasetError:  # the clip may be called by the video's name without suffix
            clip = find_annotated_clip(annotations, timeline.name)
        clip.check(timeline.labels)
        truths[name] = clip.compare(timeline)
    return truths
