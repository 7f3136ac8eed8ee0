"""Command avvp extract: extract features from many videos."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from ....extractors.profiles import PROFILES
from ....weights.manifest import DEFAULT_BUNDLE
from ....weights.remote.bundles import load_bundle
from ..batch_run import run_batch
from ..calibrated_run import calibrate_run, settle_precision
from ..missing_weights import provide_weights
from ..options.batch_options import (
    BatchOptions,
    CompileOptions,
    DecoderOptions,
    collect_named_inputs,
    read_decoding,
    read_settings,
)
from ..options.command import argument, command, exit_2_on_error, option
from ..options.groups import DownloadOptions, RunningOptions

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...batch.extract_task import ExtractTask


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(DecoderOptions, CompileOptions, BatchOptions, DownloadOptions, RunningOptions):
    """Options of avvp extract."""

    inputs: tuple[str, ...] = field(metadata=argument(nargs=-1, metavar="[INPUT]..."))
    output: str = field(
        metadata=option(
            "-o", "--output", required=True, metavar="FOLDER", help="Folder, or an address such as s3://bucket/feats."
        )
    )
    layout: str = field(
        metadata=option(
            "--layout",
            type=click.Choice(["llp", "packed"]),
            default="llp",
            help="One .npy file per clip and extractor, or one packed store, which training reads fastest.",
        )
    )
    frames: bool = field(
        metadata=option(
            "--frames",
            is_flag=True,
            help="Keep each frame in a packed store, not the mean of a second: for parsers with the stem elu (CMPAE).",
        )
    )
    weights: str | None = field(
        metadata=option(
            "--weights",
            metavar="NAME|FOLDER",
            show_default=f"{DEFAULT_BUNDLE}, or that of --profile",
            help="Bundle with the extractors.",
        )
    )
    profile: str | None = field(
        metadata=option(
            "--profile", type=click.Choice(sorted(PROFILES)), show_default="as the bundle says", help="How to decode."
        )
    )
    extractors: str | None = field(
        metadata=option(
            "--extractors", metavar="NAME,NAME", show_default="all", help="Run only these of the bundle's extractors."
        )
    )


@command(
    ExtractOptions,
    examples=(
        "avvp extract clips/ -o feats/",
        "avvp extract archive/ --recursive --keep-tree -o feats/",
        "find . -name '*.mp4' | avvp extract --list - -o feats/ --weights untrained",
        "avvp extract clips/ -o feats/ --profile clip-clap",
        "avvp extract clips/ -o feats/ --retry-failed",
        'avvp extract /shared/clips -o /shared/feats --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"',
        "avvp extract /shared/clips -o s3://bucket/feats --engine ray --address auto",
    ),
    notes="To resume an interrupted run, repeat the command. Exit status: 0 success; 1 an input failed (listed at the"
    " end and in failures.csv); 2 wrong usage, or the run cannot start.",
)
def extract(options: ExtractOptions) -> int:
    """Extract features of videos, as LLP's .npy files or a packed store.

    INPUT is a media file, a folder or a pattern. A journal records each result with its checksum, so a repeated
    command computes only what is missing, damaged, or made from an input that has changed.
    """
    if options.frames and options.layout != "packed":
        raise click.UsageError("--frames goes with --layout packed: the files of --layout llp have every frame")
    with exit_2_on_error(debug=options.debug):
        named = collect_named_inputs(options.inputs, options)
        named_bundle = options.weights or (PROFILES[options.profile].bundle if options.profile else DEFAULT_BUNDLE)
        bundle = load_bundle(named_bundle, options.source())
        if options.profile is not None:
            bundle = replace(bundle, profile=options.profile)

        from ...batch.open_storage import open_storage

        storage = open_storage(options.output)
        from ..console import Console

        with storage.exclusive_lock(options.shard):
            console = Console(quiet=options.quiet)
            provide_weights(replace(bundle, parser={}), options, console)
            bundle = calibrate_run(
                replace(bundle, parser={}),
                named,
                storage,
                options,
                console,
                source=options.source(),
                decoding=partial(read_decoding, bundle.profile, options, options),
            )
            with console:
                console.busy("loading networks")
                task = _make_task(bundle, options)
            return run_batch(task, named, storage, options, console)


def _make_task(bundle: Bundle, options: ExtractOptions) -> ExtractTask:
    from ...batch.extract_task import ExtractTask

    names = options.extractors
    return ExtractTask(
        bundle=bundle,
        settings=settle_precision(
            bundle, read_settings(bundle.profile, options, decoder=options, compiled=options.compile)
        ),
        source=options.source(),
        layout=options.layout,
        frames=options.frames,
        extractors=None if names is None else tuple(name.strip() for name in names.split(",")),
    )
