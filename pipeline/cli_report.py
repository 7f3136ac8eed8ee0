"""`avvp report`: pictures and pages of timelines that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import debug_option, quiet_option, starting, working
from .cli_outputs import (
    check_pictures,
    draw_pictures,
    picture_options,
    read_refinement,
    read_timelines,
    refinement_options,
    refuse_inputs,
)
from .errors import SetupError, printable

if TYPE_CHECKING:
    from .report import Truth
    from .timeline import Timeline


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
    with starting(debug=options["debug"]):
        asked = check_pictures(options)
        folder = options["output_dir"]
        if (folder is None) == (not asked):
            raise click.UsageError("say what to draw: --plot and --html for one file, or --output-dir")
        if folder is None and options["media"] is not None and options["media"].is_dir():
            raise click.UsageError("--media: one timeline has one video")
        timelines = read_timelines(inputs, read_refinement(options))
        truths = {name: _truth(timeline, options) for name, timeline in timelines.items()}
        found = {name: _find_media(timeline, options["media"]) for name, timeline in timelines.items()}
        if folder is None and len(timelines) > 1:
            raise click.UsageError(f"{len(timelines)} timelines need --output-dir")
        refuse_inputs(asked, [*inputs, *(media for media in found.values() if media is not None)])
    lost = [name for name, media in found.items() if media is None]
    with working(debug=options["debug"]):
        if folder is None:
            (name,) = timelines
            draw_pictures(timelines[name], options, media=found[name], truth=truths[name])
        else:
            _write_pages(folder, timelines, found, truths, embed=options["embed_video"])
    if not options["quiet"]:
        if lost:
            shown = ", ".join(map(printable, lost[:3])) + (", ..." if len(lost) > 3 else "")
            click.echo(f"{len(lost)} without their video ({shown}); --media says where it is", err=True)
        if folder is not None:
            click.echo(f"{printable(folder / 'index.html')}: {len(timelines)} pages", err=True)
    return 0


def _write_pages(
    folder: Path,
    timelines: Mapping[str, Timeline],
    media: Mapping[str, Path | None],
    truths: Mapping[str, Truth | None],
    *,
    embed: bool,
) -> None:
    from .outputs.index import INDEX, write_index  # noqa: PLC0415
    from .outputs.page import write_page  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[Path, Timeline] = {}
    for name, timeline in timelines.items():
        page = folder / f"{name.replace('/', '_').lstrip('.') or '_'}.html"
        if page in pages or page.name == INDEX:
            raise SetupError(f"two pages would be written to {printable(page)}")
        write_page(timeline, page, media=media[name], truth=truths[name], embed=embed)
        pages[page] = timeline
    write_index(folder, pages, title=folder.resolve().name)


def _truth(timeline: Timeline, options: Mapping[str, Any]) -> Truth | None:
    if options["annotations"] is None:
        return None
    from .score_timelines import read_truth  # noqa: PLC0415

    truth = read_truth(options["annotations"], Path(f"{timeline.name}.mp4"))
    truth.check(timeline.labels)
    return truth.of(timeline)


def _find_media(timeline: Timeline, given: Path | None) -> Path | None:
    """The file itself, or the one in a folder that has the name; None where there is none."""
    from .files import MEDIA_SUFFIXES, is_file  # noqa: PLC0415

    known = Path(str(timeline.media.get("path", "")))
    if given is None:
        return known if known.suffix.lower() in MEDIA_SUFFIXES and is_file(known) else None
    if not given.is_dir():
        return given
    if known.name and is_file(given / known.name):
        return given / known.name
    same = sorted(path for path in given.iterdir() if path.stem == timeline.name)
    return next((path for path in same if path.suffix.lower() in MEDIA_SUFFIXES and is_file(path)), None)
