"""Command avvp model-info: modules, parameters and FLOPs of a parser or a localizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import click

from ...text import escape
from ..missing_weights import provide_weights
from ..options.command import command, drop_defaults, exit_2_on_error, option
from ..options.event_outputs import print_written
from ..options.groups import DownloadOptions
from ..options.table_output import TableFileOptions, write_result


@dataclass(frozen=True, kw_only=True)
class ModelInfoOptions(TableFileOptions, DownloadOptions):
    """Options of avvp model-info."""

    recipe: str | None = field(
        metadata=option(
            "--recipe",
            metavar="NAME|FILE",
            show_default="leap-published",
            help="Recipe, for the classes of LLP or AVE.",
        )
    )
    changes: tuple[str, ...] = field(
        metadata=option("--set", multiple=True, metavar="TABLE.KEY=VALUE", help="Change a setting of the recipe.")
    )
    weights: str | None = field(
        metadata=option("--weights", metavar="NAME|FOLDER", help="Bundle with the network, instead of a recipe.")
    )
    segments: int | None = field(
        metadata=option(
            "--segments", type=click.IntRange(1), show_default="as trained", help="Seconds of video to count FLOPs for."
        )
    )


@command(
    ModelInfoOptions,
    examples=(
        "avvp model-info",
        "avvp model-info --recipe leap-paper --set model.leap_blocks=4",
        "avvp model-info --recipe psp-leap",
        "avvp model-info --weights runs/leap -f markdown",
        "avvp model-info --weights open",
    ),
)
def model_info(options: ModelInfoOptions) -> int:
    """Print parameters and multiply-adds of a parser or a localizer, per module.

    Of a bundle that finds any classes: of its extractors and their text encoders.

    Of a recipe of a published system, also the licence of its program, how that chooses the best epoch, and what is
    known against its figures.
    """
    if options.recipe or options.changes:
        options = drop_defaults(options, "weights")
    if options.weights and (options.recipe or options.changes):
        raise click.UsageError("--weights names a finished network; leave out --recipe and --set")
    with exit_2_on_error(debug=options.debug):
        bundle = None
        if options.weights:
            from ....weights.remote.bundles import load_bundle
            from ..console import Console

            bundle = load_bundle(options.weights, options.source())
            provide_weights(bundle.without_extractors(), options, Console(quiet=False))

        from ...reproduction.systems import describe_system, system_of
        from ...training.model_info import count_parts, info_table, recipe_network
        from ...training.recipe import DEFAULT_RECIPE

        name = options.weights or options.recipe or DEFAULT_RECIPE
        if bundle is not None and bundle.is_open and not bundle.is_adapted:
            from ..open_info import open_info

            modules, table = open_info(name, bundle, options.source())
        else:
            if bundle is not None and bundle.is_adapted:
                from ...inference.open_network import load_bundle_adapter

                network = load_bundle_adapter(bundle, options.source())
            elif bundle is not None:
                from ...inference.bundle import load_parser

                network = load_parser(bundle, source=options.source(), device="cpu").parser
            else:
                network = recipe_network(name, options.changes)
            modules = count_parts(network, options.segments)
            table = info_table(name, network, modules, options.segments)
        if bundle is not None and (file := bundle.parser.get("thresholds")):
            table = replace(table, notes=(*table.notes, f"The bundle's {escape(file)} replaces these thresholds."))
        other = any(change.strip().startswith(("model.encoder", "model.decoder")) for change in options.changes)
        system = None if options.weights or other else system_of(name)
        if system is not None:
            table = replace(table, notes=(*table.notes, describe_system(system), *system.caveats))
    parts = [module._asdict() for module in modules]
    known = {} if system is None else {"system": {**asdict(system), "status": system.status}}
    write_result({"name": name, "parts": parts, **known}, [table], options, options.output)
    print_written([] if options.output is None else [options.output], quiet=False)
    return 0
