"""`avvp report`: pictures and pages of timelines that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SetupError
from ..files import MEDIA_SUFFIXES, is_file, make_folder, safe_file_name
from ..text import escape, first_few
from .event_outputs import (
    check_pictures,
    draw_pictures,
    picture_options,
    read_timelines,
    refinement_options,
    refuse_inputs,
)
from .options import debug_option, exit_1_on_error, exit_2_on_error, quiet_option

if TYPE_CHECKING:
    from ..timeline import GroundTruth, Timeline


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp report events.json --plot timeline.pdf
  avvp report events.json --html report.html --media video.mp4
  avvp report events/ --media clips/ --output-dir report/""",
)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="EVENTS...")
@picture_options
@click.option(
    "--output-dir", type=click.Path(file_okay=False, path_type=Path), help="A page for each, and index.html for all."
)
@click.option(
    "--media",
    type=click.Path(exists=True, path_type=Path),
    help="The video, or a folder with the videos; by default where it was when it was parsed.",
)
@click.option(
    "--annotations",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with annotations in the form of LLP: shows the truth beside the events.",
)
@refinement_options
@quiet_option
@debug_option
def report(inputs: tuple[Path, ...], **options: Any) -> int:
    """Draw the EVENTS of files, or of all such files in folders: a picture, a page, or pages for a whole folder.

    The page plays the video beside its timeline: threshold, filters, corrections that are saved as JSON or in the form
    of LLP. It is one file and fetches nothing.
    """
    from ..outputs.html.index import write_index
    from ..outputs.html.page import write_page

    with exit_2_on_error(debug=options["debug"]):
        asked = check_pictures(options)
        folder = options["output_dir"]
        if (folder is None) == (not asked):
            raise click.UsageError("say what to draw: --plot and --html for one file, or --output-dir")
        found = read_timelines(inputs, options)
        timelines = found.timelines
        if folder is None and len(timelines) > 1:
            raise click.UsageError(f"{len(timelines)} timelines need --output-dir")
        if options["media"] is not None and len(timelines) > 1 and not options["media"].is_dir():
            raise click.UsageError("--media: several timelines have several videos; name their folder")
        truths = _read_truths(timelines, options["annotations"])
        media = {name: _find_media(timeline, options["media"]) for name, timeline in timelines.items()}
        pages = {} if folder is None else _plan_pages(folder, timelines)
        given = [*found.files, *(one for one in media.values() if one is not None)]
        refuse_inputs([*asked, *pages.values()], given)
    lost = [name for name, one in media.items() if one is None]
    with exit_1_on_error(debug=options["debug"]):
        if folder is None:
            (name,) = timelines
            draw_pictures(timelines[name], options, media=media[name], truth=truths[name])
        else:
            for name, page in pages.items():
                write_page(timelines[name], page, media=media[name], truth=truths[name], embed=options["embed_video"])
            write_index(folder, {page: timelines[name] for name, page in pages.items()}, folder.resolve().name)
    if not options["quiet"]:
        if lost:
            click.echo(f"{len(lost)} without their video ({first_few(lost)}); --media says where it is", err=True)
        if folder is not None:
            click.echo(f"{escape(folder / 'index.html')}: {len(timelines)} pages", err=True)
    return 0


def _plan_pages(folder: Path, timelines: Iterable[str]) -> dict[str, Path]:
    """Timeline -> page. Raises SetupError where a page would take the place of the index, or of a page of others."""
    from ..outputs.html.index import INDEX
    from ..outputs.html.page import is_avvp_page

    make_folder(folder)
    pages = {name: folder / f"{safe_file_name(name)}.html" for name in timelines}
    for page in pages.values():
        if page.name == INDEX:
            raise SetupError(f"{escape(page)}: is the list of all pages; rename the timeline of this name")
    for page in (*pages.values(), folder / INDEX):
        if is_file(page) and not is_avvp_page(page):
            raise SetupError(f"{escape(page)}: was not written by avvp; choose another folder")
    return pages


def _read_truths(timelines: Mapping[str, Timeline], folder: Path | None) -> dict[str, GroundTruth | None]:
    """Of each timeline; None where there are no annotations. Raises DatasetError for a clip that they do not know."""
    if folder is None:
        return dict.fromkeys(timelines)
    from ..datasets.annotations import read_annotations
    from ..evaluation.evaluate_timelines import find_annotated_clip

    annotations, found = read_annotations(folder), dict[str, GroundTruth | None]()
    for name, timeline in timelines.items():
        clip = find_annotated_clip(annotations, timeline.name)
        clip.check(timeline.labels)
        found[name] = clip.compare(timeline)
    return found


def _find_media(timeline: Timeline, given: Path | None) -> Path | None:
    """The file itself, or the one in a folder that has the name; None where there is none."""
    known = Path(str(timeline.media.get("path", "")))
    if given is None:
        return known if known.suffix.lower() in MEDIA_SUFFIXES and is_file(known) else None
    if not given.is_dir():
        return given
    if known.name and is_file(given / known.name):
        return given / known.name
    same = sorted(path for path in given.iterdir() if path.stem == timeline.name)
    return next((path for path in same if path.suffix.lower() in MEDIA_SUFFIXES and is_file(path)), None)
