"""Command avvp download: the clips that annotations name, fetched from the web and cut."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from ...text import count_of, escape
from ..durations import describe_duration
from ..options.command import (
    EXISTING_FILE,
    OUTPUT_FOLDER,
    FiniteRange,
    RunError,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ..options.groups import MessageOptions
from ..options.media_options import CookieOptions

if TYPE_CHECKING:
    from ...batch.journal import Journal
    from ...batch.local_storage import LocalStorage
    from ...download.clip_lists import Clip
    from ...download.plan import DownloadPlan, Missing
    from ...download.run import DownloadSummary
    from ..console import Console

_LATER = (
    "wait an hour, then repeat the command, with a larger --sleep, or with --cookies of a browser that is logged in"
)


@dataclass(frozen=True, kw_only=True)
class ListOptions(CookieOptions, MessageOptions):
    """Options of avvp download."""

    heading: ClassVar[str] = "Options"
    annotations: tuple[Path, ...] = field(
        metadata=option(
            "--annotations",
            type=EXISTING_FILE,
            multiple=True,
            required=True,
            help="List of clips: a table with a column filename (LLP), AVE's, AudioSet's, or ids and addresses; may be"
            " repeated.",
        )
    )
    output: Path = field(
        metadata=option("-o", "--output", type=OUTPUT_FOLDER, required=True, help="Folder for the clips.")
    )
    times: tuple[Path, ...] = field(
        metadata=option(
            "--times",
            type=EXISTING_FILE,
            multiple=True,
            help="AudioSet's table of segments, for lists that do not say where in a video a clip is; may be repeated.",
        )
    )
    address_template: str | None = field(
        metadata=option(
            "--address-template",
            metavar="ADDRESS",
            show_default="YouTube",
            help="Address of a video, with {id} in the place of its id: a mirror of the videos.",
        )
    )
    workers: int = field(
        metadata=option("--workers", type=click.IntRange(1, 8), default=1, help="Videos at the same time.")
    )
    sleep: float = field(
        metadata=option(
            "--sleep",
            type=FiniteRange(0, 3600),
            default=2.0,
            metavar="SECONDS",
            help="Pause of a worker between two videos, and up to twice as long.",
        )
    )
    rate: float | None = field(
        metadata=option(
            "--rate",
            type=FiniteRange(0.01, 10_000),
            metavar="MB",
            show_default="no limit",
            help="Megabytes per second of each worker at most.",
        )
    )
    retry_missing: bool = field(
        metadata=option(
            "--retry-missing", is_flag=True, help="Ask again for clips that an earlier run found to be gone."
        )
    )
    overwrite: bool = field(
        metadata=option("--overwrite", is_flag=True, help="Download all clips again, and replace their files.")
    )
    dry_run: bool = field(
        metadata=option("--dry-run", is_flag=True, help="Print what would be downloaded; nothing is asked of a site.")
    )


@command(
    ListOptions,
    name="download",
    examples=(
        "avvp download --annotations AVVP_train.csv --annotations AVVP_val_pd.csv -o videos/",
        "avvp download --annotations AVVP_train.csv -o videos/ --dry-run",
        "avvp download --annotations Annotations.txt --times balanced_train_segments.csv -o videos/",
        "avvp download --annotations AVVP_test_pd.csv -o videos/ --address-template 'https://mirror/{id}.mp4'",
    ),
    notes="To resume an interrupted run, repeat the command. Exit status: 0 all clips are there; 1 some are missing"
    " (missing.csv says why); 2 wrong usage, or the run cannot start.",
)
def download(options: ListOptions) -> int:
    """Download the clips that annotations name, and cut them out of their videos.

    LLP's, AudioSet's and AVE's annotations name parts of YouTube videos. Each is downloaded with yt-dlp, one after the
    other and with pauses, cut exactly and written as ID_start_end.mp4. A journal records finished clips, so a repeated
    command goes on; missing.csv lists the clips that are gone, and why. What you may download, the site's terms and
    the law where you are decide.
    """
    with exit_2_on_error(debug=options.debug):
        from ...download.addresses import check_tool
        from ...download.clip_lists import YOUTUBE, read_clips, read_times

        times: dict[str, tuple[float, float]] = {}
        for path in options.times:
            times |= read_times(path)
        clips = read_clips(options.annotations, template=options.address_template or YOUTUBE, times=times)
        if options.dry_run:
            return _print_plan(clips, options)
        check_tool()

        from ...batch.local_storage import LocalStorage
        from ...files import check_writable, make_folder
        from ..console import Console

        make_folder(options.output)
        check_writable(options.output)
        storage = LocalStorage(options.output)
        with storage.exclusive_lock():
            return _download(clips, storage, options, Console(quiet=options.quiet))


def _print_plan(clips: Sequence[Clip], options: ListOptions) -> int:
    """Print what a run would do. Returns the exit status."""
    from ...batch.journal import Journal
    from ...batch.local_storage import LocalStorage
    from ...download.plan import DownloadPlan

    if options.output.is_dir():
        storage = LocalStorage(options.output)
        plan = _plan(clips, Journal(storage), storage, options)
    else:
        plan = DownloadPlan.of_new(clips)
    click.echo(f"{len(clips):,} clips: {_describe(plan)}")
    if plan.todo:
        pauses = 1.5 * options.sleep * len(plan.todo) / options.workers
        click.echo(f"to download: {count_of((c.id for part in plan.todo.values() for c in part), 'clip')}")
        click.echo(f"pauses between videos: {describe_duration(pauses)}")
    return 0


def _plan(clips: Sequence[Clip], journal: Journal, storage: LocalStorage, options: ListOptions) -> DownloadPlan:
    from ...download.plan import make_plan

    return make_plan(
        clips,
        journal,
        storage,
        max_height=options.max_height,
        retry_missing=options.retry_missing,
        overwrite=options.overwrite,
    )


def _describe(plan: DownloadPlan) -> str:
    videos = f" of {len(plan.todo):,} videos" if len(plan.todo) != plan.clips_todo else ""
    parts = [f"{len(plan.there):,} there", f"{plan.clips_todo:,} to download{videos}"]
    unusable = [item for item in plan.missing.values() if item.clip.problem]
    if gone := [item for item in plan.missing.values() if not item.clip.problem]:
        parts.append(f"{len(gone):,} gone ({_count_reasons(gone)}; --retry-missing asks again)")
    if unusable:
        parts.append(f"{len(unusable):,} with an id that names no video ({unusable[0].cause})")
    return ", ".join(parts)


def _count_reasons(missing: Iterable[Missing]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(item.reason for item in missing).most_common())


def _download(clips: Sequence[Clip], storage: LocalStorage, options: ListOptions, console: Console) -> int:
    """Download clips and print the outcome. Returns the exit status."""
    from ...batch.journal import Journal
    from ...download.run import MISSING_FILE, Politeness, download_clips

    journal = Journal(storage)
    if journal.unreadable:
        console.info(f"{journal.unreadable} unreadable lines of the journal are ignored")
    plan = _plan(clips, journal, storage, options)
    console.info(f"{len(clips):,} clips: {_describe(plan)}")
    move = console.count_progress("downloading")

    def on_progress(summary: DownloadSummary) -> None:
        move(plan.clips_todo - summary.left, plan.clips_todo)

    fetching = options.fetch_options()
    if options.rate is not None:
        fetching = replace(fetching, rate=round(1e6 * options.rate))
    politeness = Politeness(workers=options.workers, sleep=options.sleep)
    with contextlib.closing(journal), exit_1_on_error(debug=options.debug), console:
        summary = download_clips(plan, journal, storage, fetching, politeness=politeness, on_progress=on_progress)
    there = len(plan.there) + summary.done
    outcome = [f"{there:,} clips are in {escape(options.output)} ({summary.done:,} new)"]
    if summary.missing:
        gone = _count_reasons(summary.missing.values())
        outcome.append(f"{len(summary.missing):,} are missing ({gone}): {escape(options.output / MISSING_FILE)}")
    if summary.left:
        outcome.append(f"{summary.left:,} were not tried")
    console.info("; ".join(outcome))
    if summary.stopped:
        raise RunError(f"stopped: {summary.stopped}; {_LATER}")
    return 1 if summary.missing else 0
