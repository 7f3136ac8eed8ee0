"""Command avvp export: networks of a bundle as files for torch.export, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..options.command import ANY_PATH, argument, command, exit_1_on_error, exit_2_on_error, option
from ..options.groups import THRESHOLD_OPTION, THRESHOLDS_OPTION, MessageOptions, WeightOptions

if TYPE_CHECKING:
    from ...export.export import ExportNetworks
    from ...inference.thresholds import Thresholds
    from ..console import Console

FORMATS = ("torch", "onnx", "openvino")  # keys of `EXPORT_FORMATS`, which imports torch


@dataclass(frozen=True, kw_only=True)
class ExportOptions(WeightOptions, MessageOptions):
    """Options of avvp export."""

    bundle: str = field(metadata=argument(metavar="RUN|BUNDLE"))
    output: Path = field(
        metadata=option("-o", "--output", type=ANY_PATH, required=True, help="Folder for the files; created.")
    )
    form: str = field(
        metadata=option(
            "-f",
            "--format",
            type=click.Choice(FORMATS),
            default="onnx",
            help="Of the files: torch.export (.pt2), ONNX, or OpenVINO (.xml and .bin).",
        )
    )
    parser_only: bool = field(metadata=option("--parser-only", is_flag=True, help="Leave out the extractors."))
    overwrite: bool = field(
        metadata=option("--overwrite", is_flag=True, help="Replace the files of an earlier export.")
    )
    threshold: float | None = field(metadata=THRESHOLD_OPTION)
    thresholds: Path | None = field(metadata=THRESHOLDS_OPTION)


@command(
    ExportOptions,
    examples=(
        "avvp export runs/leap -o exported/",
        "avvp export leap-llp --format openvino -o exported/",
        "avvp export runs/leap --parser-only --format torch -o exported/",
    ),
    notes="Exit status: 0 success; 1 a network cannot be exported, or a file cannot be written; 2 wrong usage, or the"
    " networks cannot be loaded.",
)
def export(options: ExportOptions) -> int:
    """Write networks for torch.export, ONNX Runtime or OpenVINO.

    Each file is compared with its original on a generated clip, and is written only if it computes the same. The batch
    can have any size; the parser takes windows of the length that it was trained with. export.json has the names and
    shapes of inputs and outputs, the classes, the features and the thresholds.
    """
    with exit_2_on_error(debug=options.debug):
        from ...export.export import export_networks
        from ...export.formats import EXPORT_FORMATS
        from ..console import Console

        export_format = EXPORT_FORMATS[options.form]
        export_format.check_packages()
        console = Console(quiet=options.quiet)
        with console:
            networks, thresholds = _load(options, console)
    with exit_1_on_error(debug=options.debug), console:
        comparisons = export_networks(
            networks,
            options.output,
            export_format,
            thresholds=thresholds,
            overwrite=options.overwrite,
            progress=console.info,
        )
    for item in comparisons:
        files = " and ".join(str(options.output / name) for name in item.files)
        click.echo(f"{files}: {item.bytes / 1e6:.1f} MB, differs from the original by {item.difference:.1e}")
    return 0


def _load(options: ExportOptions, console: Console) -> tuple[ExportNetworks, Thresholds]:
    from ....weights.remote.bundles import load_bundle
    from ...export.export import load_for_export
    from ...inference.thresholds import NO_TABLES, read_thresholds

    tables = read_thresholds(options.thresholds) if options.thresholds else NO_TABLES
    source = options.source(console.download_progress)
    networks = load_for_export(load_bundle(options.bundle, source), source=source, parser_only=options.parser_only)
    return networks, networks.thresholds.changed(tables, segment=options.threshold, video=options.threshold)
