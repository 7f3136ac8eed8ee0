"""Command avvp weights quantize: the feature networks of a bundle in int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from ....weights.remote.bundles import load_bundle
from ...errors import SetupError
from ...text import escape, first_few
from ..missing_weights import provide_weights
from ..options.batch_options import DecoderOptions, InputOptions
from ..options.command import (
    ANY_PATH,
    EXISTING_FOLDER,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    is_given,
    option,
)
from ..options.groups import DecodeTimeoutOptions, DownloadOptions, MessageOptions
from ..options.inputs import collect_inputs

_SUFFIX = "-int8"  # of the folder where none is named
_MOST_CLIPS = 1000


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(DecoderOptions, DecodeTimeoutOptions, InputOptions, DownloadOptions, MessageOptions):
    """Options of avvp weights quantize."""

    bundle: str = field(metadata=argument(metavar="NAME|FOLDER"))
    clips: Path = field(
        metadata=option("--clips", type=EXISTING_FOLDER, required=True, help="Folder of media like those to be parsed.")
    )
    output: Path | None = field(
        metadata=option(
            "-o",
            "--output",
            type=ANY_PATH,
            show_default=f"the bundle's name with {_SUFFIX}",
            help="Folder for the bundle; created.",
        )
    )
    calibrate: int = field(
        metadata=option(
            "--calibrate", type=click.IntRange(1, _MOST_CLIPS), default=40, help="Clips to measure ranges of values on."
        )
    )
    check: int = field(
        metadata=option(
            "--check",
            type=click.IntRange(0, _MOST_CLIPS),
            default=20,
            help="Other clips to compare features and decisions with fp32 on; 0 for none.",
        )
    )
    overwrite: bool = field(metadata=option("--overwrite", is_flag=True, help="Replace a bundle in the folder."))


@command(
    QuantizeOptions,
    examples=(
        "avvp weights quantize leap-llp --clips archive/",
        "avvp weights quantize runs/leap --clips clips/ -o leap-int8/ --check 100",
        "avvp-parse --weights leap-int8/ video.mp4",
    ),
    notes="Needs the extra int8. Exit status: 0 success; 1 a network cannot be quantized, or a file cannot be written;"
    " 2 wrong usage, or the bundle cannot be loaded.",
)
def quantize(options: QuantizeOptions) -> int:
    """Make a bundle whose feature networks compute in int8.

    Activations get the ranges that they have on clips of yours; nothing is trained. The first minute of each clip is
    decoded. Clips are chosen evenly from the folder, some to calibrate on and others to compare on. README.md of the
    bundle has what was measured, and the hashes of the clips.
    """
    with exit_2_on_error(debug=options.debug):
        bundle = load_bundle(options.bundle, options.source())
        paths, problems = collect_inputs([str(options.clips)], recursive=options.recursive, quiet=options.quiet)
        if problems:
            raise SetupError(problems[0])
        folder = options.output or Path(f"{bundle.name}{_SUFFIX}")
        from ..console import Console

        console = Console(quiet=options.quiet)
        with console:
            console.busy("loading OpenVINO and NNCF")
            from ...decode.options import DecodeOptions
            from ...quantization.calibration import split_clips
            from ...quantization.write import check_folder, check_quantizable, quantize_bundle, write_quantized

            check_quantizable(bundle)
            check_folder(bundle, folder, overwrite=options.overwrite)
        calibration, held_out = split_clips(paths, options.calibrate, options.check)
        if options.check and not held_out and is_given("check"):
            raise SetupError("--check needs a clip beside that of the calibration, and the folder has one")
        provide_weights(bundle, options, console)
        decoding = DecodeOptions(
            decoder=options.decoder, resampler=options.resampler, timeout=options.decode_timeout, debug=options.debug
        )
    with exit_1_on_error(debug=options.debug), console:
        made = quantize_bundle(
            bundle,
            calibration,
            held_out=held_out,
            source=options.source(),
            decoding=decoding,
            progress=lambda what, done, total: console.move_bar(what, done, total, f"{done}/{total}"),
        )
        write_quantized(made, folder, source=options.source(), overwrite=options.overwrite)
    _report_failed(made.failed)
    if not options.quiet:
        for line in made.record.summary:
            click.echo(line, err=True)
    for warning in made.record.warnings:
        click.echo(f"! {warning}", err=True)
    click.echo(f"{escape(folder)}: a bundle of quantized networks, for --weights")
    return 0


def _report_failed(failed: Mapping[Path, str]) -> None:
    """Print which clips were left out."""
    if failed:
        causes = first_few([f"{path.name}: {cause}" for path, cause in failed.items()])
        click.echo(f"{len(failed)} clips cannot be decoded and were left out ({causes})", err=True)
