"""Command avvp synth: generate a labelled synthetic data set of either task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from ...errors import SetupError
from ..options.command import ANY_PATH, EXISTING_FOLDER, argument, command, exit_1_on_error, exit_2_on_error, option
from ..options.groups import MessageOptions

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class SynthOptions(MessageOptions):
    """Options of avvp synth."""

    folder: Path = field(metadata=argument(type=ANY_PATH))
    task: str = field(
        metadata=option(
            "--task",
            type=click.Choice(["avvp", "avel"]),
            default="avvp",
            help="avvp: video parsing, up to three sounds and sights at a time; avel: event localization, one event a"
            " clip.",
        )
    )
    clips: int = field(
        metadata=option(
            "--clips", type=click.IntRange(1, 1_000_000), required=True, help="Number of clips of all splits."
        )
    )
    seed: int = field(
        metadata=option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            help="Random seed; the same seed gives the same clips.",
        )
    )
    seconds: int = field(
        metadata=option("--seconds", type=click.IntRange(1, 600), default=10, help="Length of each clip.")
    )
    shares: str = field(
        metadata=option("--shares", default="70,15,15", metavar="A,B,C", help="Percent of train, val and test.")
    )
    noisy: int = field(
        metadata=option(
            "--noisy",
            type=click.IntRange(0, 1_000_000),
            default=0,
            help="With --task avel: further clips without an event of its classes, for weak training.",
        )
    )
    sources: Path | None = field(
        metadata=option(
            "--sources",
            type=EXISTING_FOLDER,
            help="Folder with a subfolder per class: your own audio files, images and videos, used instead of generated"
            " ones.",
        )
    )
    workers: int | None = field(
        metadata=option(
            "--workers", type=click.IntRange(1), show_default="one per CPU core", help="Rendering processes."
        )
    )


@command(
    SynthOptions,
    examples=(
        "avvp synth synth/ --clips 1000 --seed 1",
        "avvp synth held-out/ --clips 120 --seed 2 --shares 0,0,100",
        "avvp synth mixed/ --clips 500 --sources my-recordings/",
        "avvp synth ave-like/ --task avel --clips 400 --seed 1",
    ),
    notes="To resume an interrupted run, repeat the command.",
)
def synth(options: SynthOptions) -> int:
    """Generate labelled clips of the 25 LLP classes.

    Writes videos/, annotations/ and pseudo_labels/ to FOLDER. Each class has its own sound and its own appearance, with
    random variation; sounds and visible objects start and end independently, up to three at a time. The labels are
    exact. Networks trained on these clips recognise only such clips.

    With --task avel, each clip has one event, of one of eight classes, that is both heard and seen; outside it, its
    class and others may be heard or seen. Writes Annotations.txt, the files of the splits and AVE/ as the AVE data set
    has them, and heard_and_seen/: all sounds and sights per second.
    """
    with exit_2_on_error(debug=options.debug):
        counts = _split(options.clips, options.shares)
        if options.noisy and options.task != "avel":
            raise SetupError(f"--noisy {options.noisy}: only --task avel has clips without an event")
        if options.noisy:
            counts["noisy"] = options.noisy

        from ....models.labels import LLP_LABELS
        from ...decode.process import available_cores
        from ...synthetic.dataset import SynthJob, write_dataset
        from ...synthetic.user_sources import NO_SOURCES, find_sources
        from ..console import Console

        sources = NO_SOURCES if options.sources is None else find_sources(options.sources, LLP_LABELS)
    console = Console(quiet=options.quiet)
    job = SynthJob(counts, options.seed, options.seconds, sources, options.task)
    workers = options.workers or available_cores()
    with exit_1_on_error(debug=options.debug), console:
        rendered = write_dataset(options.folder, job, workers=workers, progress=console.count_progress("rendering"))
    splits = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    kept = sum(counts.values()) - rendered
    console.info(f"{options.folder}: {splits}; {rendered} clips rendered, {kept} were there")
    return 0


def _split(clips: int, shares: str) -> dict[str, int]:
    """Return the clips of each split; the largest share gets the remainder of rounding."""
    try:
        percents = [float(share) for share in shares.split(",")]
    except ValueError:
        percents = []
    if len(percents) != len(_SPLITS) or not all(share >= 0 for share in percents) or abs(sum(percents) - 100) > 1e-6:
        raise SetupError(f"--shares {shares}: expected three percentages that make 100, as 70,15,15")
    counts = [int(clips * share / 100) for share in percents]
    counts[percents.index(max(percents))] += clips - sum(counts)
    return dict(zip(_SPLITS, counts, strict=True))
