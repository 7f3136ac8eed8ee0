"""`avvp synth`: a data set that anyone can generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import SetupError
from .options import debug_option, exit_1_on_error, exit_2_on_error, quiet_option

_SPLITS = ("train", "val", "test")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp synth synth/ --clips 1000 --seed 1
  avvp synth held-out/ --clips 120 --seed 2 --shares 0,0,100
  avvp synth mixed/ --clips 500 --sources my-recordings/

The same command again goes on where it stopped. The same seed gives the same clips.""",
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--clips", type=click.IntRange(1), required=True, help="Clips in all.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Everything follows from it.")
@click.option("--seconds", type=click.IntRange(1, 600), default=10, show_default=True, help="Length of each clip.")
@click.option("--shares", default="70,15,15", show_default=True, help="Percent of train, val and test.")
@click.option(
    "--sources",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of folders named by class: your own sounds, pictures and films, used in place of generated ones.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one for each core.")
@quiet_option
@debug_option
def synth(folder: Path, **options: Any) -> int:
    """Generate labelled clips of the 25 LLP classes into FOLDER: videos/, annotations/ and pseudo_labels/.

    Each class has a sound and a sight of its own, never twice alike; what is heard and what is seen begin and end
    independently, up to three at a time. The truth is exact. Networks trained on these clips know these clips alone.
    """
    with exit_2_on_error(debug=options["debug"]):
        counts = _split(options["clips"], options["shares"])

        from ...models.labels import LLP_LABELS
        from ..decode.process import available_cores
        from ..synthetic.dataset import SynthJob, write_dataset
        from ..synthetic.user_sources import NO_SOURCES, find_sources
        from .console import Console

        sources = NO_SOURCES if options["sources"] is None else find_sources(options["sources"], LLP_LABELS)
    console = Console(quiet=options["quiet"], verbose=False)
    job = SynthJob(counts, options["seed"], options["seconds"], sources)
    with exit_1_on_error(debug=options["debug"]), console:
        made = write_dataset(
            folder, job, workers=options["workers"] or available_cores(), progress=console.count("rendering")
        )
    splits = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    console.say(f"{folder}: {splits}; {made} clips rendered, {sum(counts.values()) - made} were there")
    return 0


def _split(clips: int, shares: str) -> dict[str, int]:
    """Clips of each split; what rounding leaves goes to the largest."""
    try:
        percents = [float(part) for part in shares.split(",")]
    except ValueError:
        percents = []
    if len(percents) != len(_SPLITS) or not all(part >= 0 for part in percents) or abs(sum(percents) - 100) > 1e-6:
        raise SetupError(f"--shares {shares}: expected three percentages that make 100, as 70,15,15")
    counts = [int(clips * percent / 100) for percent in percents]
    counts[percents.index(max(percents))] += clips - sum(counts)
    return dict(zip(_SPLITS, counts, strict=True))
