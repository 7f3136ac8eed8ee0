"""Command avvp report: draw plots and pages of event files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ...errors import DatasetError, SetupError
from ...files import is_file, make_folder
from ...text import escape, first_few
from ..options.command import (
    ANY_PATH,
    EXISTING_FILE,
    EXISTING_FOLDER,
    OUTPUT_FOLDER,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.event_media import MediaFinder
from ..options.event_outputs import (
    PlotOptions,
    PostProcessingOptions,
    check_outputs,
    print_written,
    read_timelines,
    refuse_inputs,
    write_plots,
)
from ..options.groups import MEDIA_OPTION, MessageOptions

if TYPE_CHECKING:
    from ...timeline import GroundTruth, Timeline


@dataclass(frozen=True, kw_only=True)
class ReportOptions(PlotOptions, PostProcessingOptions, MessageOptions):
    """Options of avvp report."""

    inputs: tuple[Path, ...] = field(metadata=argument(nargs=-1, required=True, type=ANY_PATH, metavar="EVENTS..."))
    output_dir: Path | None = field(
        metadata=option("--output-dir", type=OUTPUT_FOLDER, help="Folder for one page per timeline and index.html.")
    )
    media: Path | None = field(metadata=MEDIA_OPTION)
    annotations: Path | None = field(
        metadata=option(
            "--annotations", type=EXISTING_FOLDER, help="Annotations in the format of LLP, drawn beside the events."
        )
    )
    explain: Path | None = field(
        metadata=option(
            "--explain",
            type=EXISTING_FILE,
            metavar="FILE.npz",
            help="Attention for the page of --html, as avvp parse --explain FILE.npz wrote it.",
        )
    )


@command(
    ReportOptions,
    examples=(
        "avvp report events.json --plot timeline.pdf",
        "avvp report events.json --html report.html --media video.mp4",
        "avvp report events.json --html report.html --explain attention.npz",
        "avvp report events/ --media clips/ --output-dir report/",
    ),
)
def report(options: ReportOptions) -> int:
    """Draw events as a plot, a page, or a folder of pages.

    EVENTS are files or folders of event files. A page plays the video beside its timeline, where events can be
    filtered, corrected, and saved as JSON or in the format of LLP. It loads nothing from the network. The page of
    --html is a single file; those of --output-dir share their program, and index.html lists them.
    """
    from ...outputs.plots.attention_maps import read_maps

    with exit_2_on_error(debug=options.debug):
        plot_files = options.plot_files()
        folder = options.output_dir
        options.check_page_options(pages=options.html is not None or folder is not None)
        if (folder is None) == (not plot_files):
            raise click.UsageError("choose what to draw: --plot and --html for one file, or --output-dir")
        if options.explain is not None and options.html is None:
            raise SetupError("--explain goes with --html")
        events = read_timelines(options.inputs, options.post_processing(), quiet=options.quiet)
        timelines = events.timelines
        if folder is None and len(timelines) > 1:
            raise click.UsageError(
                f"{len(timelines)} timelines need --output-dir, a folder for their pages: --output-dir site/"
            )
        if options.media is not None and len(timelines) > 1 and not options.media.is_dir():
            raise click.UsageError("--media: several timelines have several videos; name their folder")
        truths = _read_truths(timelines, options.annotations, quiet=options.quiet)
        attention = None if options.explain is None else read_maps(options.explain)
        finder = MediaFinder(options.media)
        media = {name: finder.find(timeline, events.sources[name]) for name, timeline in timelines.items()}
        notes = {
            name: f"{finder.describe_missing(timeline, events.sources[name])}; name it with avvp report --media"
            for name, timeline in timelines.items()
        }
        pages = {} if folder is None else _plan_pages(folder, timelines)
        inputs = [*events.files, *(path for path in (*media.values(), options.explain) if path is not None)]
        refuse_inputs([*plot_files, *pages.values()], inputs)
        check_outputs(plot_files)
    with exit_1_on_error(debug=options.debug):
        if folder is None:
            (name,) = timelines
            write_plots(
                timelines[name], options, media=media[name], truth=truths[name], attention=attention, note=notes[name]
            )
        else:
            plans = [_Page(pages[name], timelines[name], media[name], truths[name], notes[name]) for name in timelines]
            _write_site(folder, plans, options)
    if not options.quiet:
        if missing := [name for name, path in media.items() if path is None]:
            click.echo(
                f"{len(missing)} without their video ({first_few(missing)}); {notes[missing[0]]}",
                err=True,
            )
        if folder is not None:
            click.echo(f"{escape(folder / 'index.html')}: {len(timelines)} pages", err=True)
    print_written(plot_files, quiet=options.quiet)
    return 0


class _Page(NamedTuple):
    """A page of a folder: its path, and what it shows."""

    path: Path
    timeline: Timeline
    media: Path | None
    truth: GroundTruth | None
    note: str


def _write_site(folder: Path, pages: Sequence[_Page], options: ReportOptions) -> None:
    """Write pages with their thumbnails, their program and their index. Decoding takes most of the time."""
    from ...decode.process import available_cores
    from ...outputs.html.index import write_index
    from ...outputs.html.page import write_page
    from ...outputs.html.site import remove_unused_programs, write_program
    from ...outputs.html.thumbnails import write_thumbnail
    from ..console import Console

    program = write_program(folder, pages[0].timeline)

    def write(page: _Page) -> bool:
        write_page(
            page.timeline, page.path, media=page.media, truth=page.truth, embed=options.embed_video,
            bands=options.bands, note=page.note, shared=program,
        )  # fmt: skip
        return write_thumbnail(page.path, page.media, page.timeline.media["duration"] / 2)

    pictured = []
    with Console(quiet=options.quiet) as console, ThreadPoolExecutor(available_cores()) as pool:
        progress = console.count_progress("writing pages")
        try:
            for done, (page, has_picture) in enumerate(zip(pages, pool.map(write, pages), strict=True), 1):
                if has_picture:
                    pictured.append(page.path)
                progress(done, len(pages))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # an error, or Ctrl-C: pages not begun are left out
            raise
    timelines = {page.path: page.timeline for page in pages}
    write_index(folder, timelines, folder.resolve().name, pictured=pictured)
    remove_unused_programs(folder)


def _plan_pages(folder: Path, timelines: Iterable[str]) -> dict[str, Path]:
    """Map timelines to pages. Raises SetupError if a page would overwrite the index, or a file not written by avvp."""
    from ...outputs.formats.targets import result_path
    from ...outputs.html.index import INDEX
    from ...outputs.html.page import is_avvp_page
    from ...outputs.html.thumbnails import check_thumbnails

    pages = {name: result_path(folder, name, ".html") for name in timelines}
    for page in pages.values():
        if page.name == INDEX:
            raise SetupError(f"{escape(page)}: is the list of all pages; rename the timeline of this name")
    for page in (*pages.values(), folder / INDEX):
        if is_file(page) and not is_avvp_page(page):
            raise SetupError(f"{escape(page)}: was not written by avvp; choose another folder")
    check_thumbnails(pages.values())
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
