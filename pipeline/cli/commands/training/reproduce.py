"""Commands avvp recipes and avvp reproduce: list the recipes, train and score the LEAP paper's experiments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from ....text import escape
from ...options.command import (
    ANY_PATH,
    CONTEXT_SETTINGS,
    argument,
    command,
    drop_defaults,
    exit_1_on_error,
    exit_2_on_error,
    is_given,
    option,
)
from ...options.groups import RunningOptions, set_torch_threads
from ...options.table_output import TableOptions, write_result
from .train import PlanOptions

TABLES = ("table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8", "fig3")
SUPERVISIONS = ("full", "weak", "both")
SYSTEMS, LOCALIZATION = "table4", "table5"  # their runs have recipes of their own


@click.command(context_settings=CONTEXT_SETTINGS)
def recipes() -> int:
    """List the recipes for --recipe and the folder of their files."""
    from .....weights.parts import installed_parts
    from ....training.recipe import RECIPES_FOLDER, list_recipes, load_recipe

    for name in list_recipes():
        click.echo(f"{name}\n    {load_recipe(name).description}")
    if installed := installed_parts():
        click.echo("\nParts of installed packages, for model.encoder, model.decoder, model.decision, objective.loss:")
        for kind, name, package in installed:
            click.echo(f"    {kind} {escape(name)} ({escape(package)})")
    click.echo(f"\nCopy a file from {RECIPES_FOLDER} to make your own.")
    return 0


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(PlanOptions, TableOptions, RunningOptions):
    """Options of avvp reproduce."""

    table: str = field(metadata=argument(type=click.Choice(TABLES)))
    output: Path = field(metadata=option("-o", "--output", type=ANY_PATH, required=True, help="Folder for the runs."))
    dry_run: bool = field(
        metadata=option("--dry-run", is_flag=True, help="Print the plan and its cost; train nothing.")
    )
    epochs: int | None = field(
        metadata=option("--epochs", type=click.IntRange(1), help="training.epochs of every run.")
    )
    bert: str = field(
        metadata=option("--bert", default="bert-base-uncased", metavar="MODEL", help="Text encoder of table1.")
    )
    clip: str = field(
        metadata=option(
            "--clip",
            default="openai/clip-vit-base-patch32",
            metavar="MODEL",
            help="Text encoder of table1.",
        )
    )
    supervision: str | None = field(
        metadata=option(
            "--supervision",
            type=click.Choice(SUPERVISIONS),
            show_default="both",
            help="Labels that the runs of table5 learn from: of seconds (full) or of clips (weak).",
        )
    )
    select: str | None = field(
        metadata=option(
            "--select",
            type=click.Choice(["val", "test"]),
            show_default="val",
            help="Split that chooses the best epoch in table4 and table5; with test, scores are too high.",
        )
    )
    systems: tuple[str, ...] = field(
        metadata=option(
            "--system",
            multiple=True,
            metavar="NAME",
            show_default="all that have a recipe",
            help="System of table4 to train; repeatable.",
        )
    )


@command(
    ReproduceOptions,
    examples=(
        "avvp reproduce table2 --annotations llp/ --features feats.packed --pseudo-labels valor/ -o runs/ --dry-run",
        "avvp reproduce table2 --annotations llp/ --features feats.packed --pseudo-labels valor/ -o runs/",
        "avvp reproduce table4 --annotations llp/ --features feats.packed -o runs/ --system HAN --system MM-Pyr",
        "avvp reproduce table5 --annotations AVE/ --features ave.packed --label-embeddings glove.txt -o runs/",
    ),
    notes="""\b
Tables of the LEAP paper:
  table1  number of blocks, kind of label embeddings    table6  weight of the similarity loss
  table2  MMIL and LEAP on HAN and MM-Pyr               table7  block that predicts
  table3  clips with and without overlapping events     table8  learnable queries
  table4  other systems, each by its own recipe         fig3    per class
  table5  LEAP in AVE, PSP and CMBS

To resume, repeat the command.""",
)
def reproduce(options: ReproduceOptions) -> int:
    """Train and score the runs of a table of the LEAP paper.

    Prints our scores beside the paper's. Tables share runs: a run that one table has trained, another only scores.
    """
    options.data_folders()
    options = _check_usage(options)
    with exit_2_on_error(debug=options.debug):
        from ....devices import resolve_device
        from ....reproduction.reproduce import check_experiment, make_experiment, open_experiment, run_experiment
        from ....reproduction.result_tables import result_tables
        from ....reproduction.time_estimate import estimate_time, plan_table
        from ....training.distributed import process_count
        from ...console import Console
        from ...training_progress import table_callbacks

        if process_count() > 1:
            raise click.UsageError("a table is trained in one process; start its runs with torchrun and avvp train")
        console = Console(quiet=options.quiet)
        device = resolve_device(options.device)
        set_torch_threads(options.threads)
        changes = [*options.changes, *([f"training.epochs={options.epochs}"] if options.epochs else [])]
        plan = replace(options.training_plan(()), select=options.select or "val")
        encoders = {"bert": f"bert:{options.bert}", "clip": f"clip:{options.clip}"}
        experiment = make_experiment(
            options.table, plan, options.recipe, options.output, changes=tuple(changes), encoders=encoders,
            supervision=None if options.supervision == "both" else options.supervision, systems=options.systems,
        )  # fmt: skip
        data = open_experiment(experiment)
        source = options.source()
        check_experiment(experiment, data, device=device, source=source)
        with console:
            estimate = estimate_time(experiment, data, device=device, source=source)
        if options.dry_run:
            table = plan_table(experiment, estimate)
            write_result(table.to_dict(), [table], options)
            return 0
    with exit_1_on_error(debug=options.debug), console:
        results = run_experiment(
            experiment,
            data,
            device=device,
            source=source,
            callbacks=table_callbacks(estimate, console),
            progress=console.count_progress,
        )
    selection = {} if experiment.select == "val" else {"selected_on": experiment.select}
    document = {
        run.name: {"paper": list(run.paper) or run.paper_parts, **selection, **scores.to_dict()}
        for run, scores in results
    }
    write_result(document, result_tables(experiment, results), options)
    return 0


def _check_usage(options: ReproduceOptions) -> ReproduceOptions:
    """Drop defaults that are not for the table. Raises click.UsageError for options that are not."""
    if options.table in {SYSTEMS, LOCALIZATION}:
        if is_given("recipe"):
            raise click.UsageError(f"the runs of {options.table} have recipes of their own; leave out --recipe")
        options = drop_defaults(options, "recipe")
    fit = {"supervision": {LOCALIZATION}, "systems": {SYSTEMS}, "select": {SYSTEMS, LOCALIZATION}}
    for flag, name in (("--supervision", "supervision"), ("--system", "systems"), ("--select", "select")):
        if is_given(name) and options.table not in fit[name]:
            raise click.UsageError(f"{flag} is for {' and '.join(sorted(fit[name]))}")
    unfit = [name for name, tables in fit.items() if options.table not in tables]
    return drop_defaults(options, *unfit, *(["pseudo_labels"] if options.table == LOCALIZATION else []))
