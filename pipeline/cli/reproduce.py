"""`avvp recipes` and `avvp reproduce`: what can be trained, and the paper's experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import (
    annotations_option,
    exit_1_on_error,
    exit_2_on_error,
    features_option,
    pseudo_labels_option,
    read_source,
    running_options,
    set_threads,
)
from .table_output import format_option, write_result
from .train import training_callbacks, training_plan

TABLES = ("table1", "table2", "table3", "table6", "table7", "table8", "fig3")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def recipes() -> None:
    """List the recipes for --recipe, and where their files are."""
    from ..training.recipe import RECIPES_FOLDER, list_recipes, load_recipe

    for name in list_recipes():
        click.echo(f"{name}\n    {load_recipe(name).description}")
    click.echo(f"\nCopy one from {RECIPES_FOLDER} to make your own.")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Tables of the LEAP paper:
  table1  number of blocks, kind of label embeddings    table6  weight of the similarity loss
  table2  MMIL and LEAP on HAN and MM-Pyr               table7  which block predicts
  table3  clips with and without overlapping events     table8  learnable queries
  fig3    each class alone

\b
Examples:
  avvp reproduce table2 --annotations llp/ --features feats.packed --pseudo-labels valor/ -o runs/ --dry-run
  avvp reproduce table2 --annotations llp/ --features feats.packed --pseudo-labels valor/ -o runs/""",
)
@click.argument("table", type=click.Choice(TABLES))
@annotations_option
@features_option
@pseudo_labels_option
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the runs.")
@click.option("--dry-run", is_flag=True, help="Show the plan and what it costs; train nothing.")
@click.option(
    "--recipe", default="leap-published", show_default=True, metavar="NAME|FILE", help="What runs start from."
)
@click.option("--set", "changes", multiple=True, metavar="TABLE.KEY=VALUE", help="Change it for every run.")
@click.option("--epochs", type=click.IntRange(1), help="training.epochs of every run.")
@click.option("--label-embeddings", metavar="SOURCE", help="As for 'avvp train'.")
@click.option("--bert", default="bert-base-uncased", show_default=True, metavar="MODEL", help="For table1.")
@click.option("--clip", default="openai/clip-vit-base-patch32", show_default=True, metavar="MODEL", help="For table1.")
@click.option("--extractors", metavar="NAME|FOLDER", help="As for 'avvp train'.")
@format_option
@running_options
def reproduce(table: str, **options: Any) -> int:
    """Train and score the runs of a table of the LEAP paper; print ours beside the paper's.

    The same command goes on where it was stopped. Tables share runs: what one has trained, another only scores.
    """
    if missing := [name for name in ("annotations", "features") if options[name] is None]:
        raise click.UsageError(f"missing --{' and --'.join(missing)}")
    with exit_2_on_error(debug=options["debug"]):
        from ..devices import resolve_device
        from ..training.matmul_rate import matmul_rate
        from ..training.reproduce import check_study, make_experiment, plan_table, result_tables, run_study
        from ..training.setup import open_data
        from .console import Console

        console = Console(quiet=options["quiet"], verbose=False)
        device = resolve_device(options["device"])
        set_threads(options["threads"])
        changes = [*options["changes"], *([f"training.epochs={options['epochs']}"] if options["epochs"] else [])]
        plan = training_plan(options, ())
        encoders = {"bert": f"bert:{options['bert']}", "clip": f"clip:{options['clip']}"}
        study = make_experiment(
            table, plan, options["recipe"], options["output"], changes=tuple(changes), encoders=encoders
        )
        data = open_data(study.plans[0][1], ("train", "val", "test"))
        source = read_source(options)
        check_study(study, data, device=device, source=source)
        if options["dry_run"]:
            table_of_plan = plan_table(study, data, matmul_rate(device))
            write_result(table_of_plan.to_dict(), [table_of_plan], {**options, "output": None})
            return 0
    with exit_1_on_error(debug=options["debug"]), console:
        results = run_study(
            study,
            data,
            device=device,
            source=source,
            hooks=lambda name, own: training_callbacks(own.recipe.training.epochs, console, name=name),
            progress=console.count,
        )
    document = {cell.name: {"paper": list(cell.paper), **found.to_dict()} for cell, found in results}
    write_result(document, result_tables(study, results), {**options, "output": None})
    return 0
