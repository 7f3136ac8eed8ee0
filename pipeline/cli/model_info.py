"""Command avvp model-info: modules, parameters and FLOPs of a parser."""

from __future__ import annotations

from typing import Any

import click

from .options import debug_option, exit_2_on_error, offline_option, read_source, weights_dir_option
from .table_output import format_option, output_option, write_result


@click.command(
    "model-info",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp model-info
  avvp model-info --recipe leap-paper --set model.leap_blocks=4
  avvp model-info --weights runs/leap -f markdown""",
)
@click.option("--recipe", metavar="NAME|FILE", help="For the classes of LLP.  [default: leap-published]")
@click.option("--set", "changes", multiple=True, metavar="TABLE.KEY=VALUE", help="Change the recipe.")
@click.option("--weights", metavar="NAME|FOLDER", help="Instead of a recipe: the parser of a bundle.")
@click.option("--segments", type=click.IntRange(1), help="Seconds of video to count for; by default the trained T.")
@format_option
@output_option
@weights_dir_option
@offline_option
@debug_option
def model_info(**options: Any) -> int:
    """Parameters and multiply-adds of a parser, part by part."""
    if options["weights"] and (options["recipe"] or options["changes"]):
        raise click.UsageError("--weights names a parser that is made already; leave out --recipe and --set")
    with exit_2_on_error(debug=options["debug"]):
        from ..training.model_info import count_parts, info_table, recipe_parser
        from ..training.recipe import DEFAULT_RECIPE

        if options["weights"]:
            from ..inference.bundle import load_parser

            name, parser = (
                options["weights"],
                load_parser(options["weights"], source=read_source(options), device="cpu").parser,
            )
        else:
            name = options["recipe"] or DEFAULT_RECIPE
            parser = recipe_parser(name, options["changes"])
        parts = count_parts(parser, options["segments"])
        table = info_table(name, parser, parts, options["segments"])
    write_result({"name": name, "parts": [part._asdict() for part in parts]}, [table], options)
    return 0
