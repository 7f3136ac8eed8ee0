"""`avvp extract`: folders of video to features, checked before any weights are loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ...extractors.profiles import PROFILES
from ...weights.manifest import DEFAULT_BUNDLE, load_bundle
from .batch_options import batch_options, collect_named_inputs, read_settings
from .batch_run import run_batch
from .options import exit_2_on_error, read_source, running_options

if TYPE_CHECKING:
    from ..batch.extract_task import ExtractTask


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp extract clips/ -o feats/
  avvp extract archive/ --recursive --keep-tree -o feats/
  find . -name '*.mp4' | avvp extract --list - -o feats/ --weights untrained
  avvp extract clips/ -o feats/ --retry-failed
  avvp extract /shared/clips -o s3://bucket/feats --engine ray --address auto

The same command again continues where it stopped. Exit status: 0 all well; 1 some input failed (named at the end and
in failures.csv); 2 wrong usage or a run that cannot start.""",
)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-o", "--output", required=True, help="Folder for the features, or an address such as s3://bucket/feats.")
@click.option("--recursive", is_flag=True, help="Also look in the folders below a folder.")
@click.option(
    "--layout",
    type=click.Choice(["llp", "packed"]),
    default="llp",
    show_default=True,
    help="A file for each clip and extractor, or the store that training reads fastest.",
)
@click.option("--weights", default=DEFAULT_BUNDLE, show_default=True, metavar="NAME|FOLDER", help="Whose extractors.")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), help="Instead of the one of the bundle.")
@click.option("--extractors", metavar="NAME,NAME", help="Only these of the bundle's extractors.")
@batch_options
@running_options
def extract(inputs: tuple[str, ...], **options: Any) -> int:
    """Turn each INPUT (a media file, a folder of them, a pattern) into features: files in the layout of LLP, or a
    packed store.

    Every finished file is journalled with checksums: a run that was interrupted, by whatever, is continued by the
    same command, and nothing is computed twice. Inputs that have changed, and outputs that are missing or damaged,
    are done again.
    """
    with exit_2_on_error(debug=options["debug"]):
        named = collect_named_inputs(inputs, options)
        bundle = load_bundle(options["weights"])
        if options["profile"] is not None:
            bundle = replace(bundle, profile=options["profile"])

        from ..batch.open_storage import open_storage

        storage = open_storage(options["output"])
        from .console import Console

        with storage.exclusive_lock():
            console = Console(quiet=options["quiet"], verbose=False)
            return run_batch(_task(bundle, options), named, storage, options, console)


def _task(bundle: Any, options: dict[str, Any]) -> ExtractTask:
    from ..batch.extract_task import ExtractTask

    chosen = options["extractors"]
    return ExtractTask(
        bundle=bundle,
        settings=read_settings(bundle.profile, options),
        source=read_source(options),
        layout=options["layout"],
        extractors=None if chosen is None else tuple(name.strip() for name in chosen.split(",")),
    )
