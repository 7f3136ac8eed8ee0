"""`avvp evaluate` and `avvp model-info`: scores, and what a parser is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    FiniteRange,
    annotations_option,
    exit_2_on_error,
    features_option,
    read_source,
    running_options,
    set_threads,
)
from .table_output import format_option, output_option, write_result

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation
    from .console import Console


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp evaluate --weights runs/leap --annotations llp/ --features feats/
  avvp evaluate --weights leap-llp --annotations llp/ --features feats.packed --per-class -f markdown
  avvp evaluate --timelines events/ --annotations llp/ -f json -o scores.json
  avvp evaluate --pseudo-labels valor/ --annotations llp/ --split val
  avvp evaluate --weights runs/leap --annotations llp/ --features feats/ --tune-thresholds thresholds.toml

Exit status: 0 all well; 1 the result cannot be written; 2 wrong usage, or data that cannot be used.""",
)
@annotations_option
@click.option("--weights", metavar="NAME|FOLDER", help="Bundle with the parser to score; a run is a bundle.")
@features_option
@click.option(
    "--timelines",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Instead of a parser: folder of NAME.events.json files, of any program.",
)
@click.option(
    "--pseudo-labels",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Instead of a parser: folder with CLIP/segment_pseudo_labels/ and CLAP/segment_pseudo_labels/.",
)
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True, help="Which clips.")
@click.option("--per-class", is_flag=True, help="Also each class alone, at the event level.")
@click.option("--allow-missing", is_flag=True, help="Score the clips that there are results of; it is said.")
@click.option("--threshold", type=FiniteRange(0, 1), help="For all decisions.  [default: 0.5]")
@click.option(
    "--thresholds",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML or JSON file with thresholds per class and modality, as for 'avvp parse'.",
)
@click.option(
    "--tune-thresholds",
    "tuned",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Choose thresholds on the validation split, write them to this file, and score with them.",
)
@format_option
@output_option
@running_options
def evaluate(**options: Any) -> int:
    """Score a parser, timelines on disk or pseudo labels by the published protocol: ten F-scores and their mean.

    Overlapping and non-overlapping clips are scored apart as well; a clip is overlapping if some second has two or
    more events of one modality.
    """
    _check_usage(options)
    with exit_2_on_error(debug=options["debug"]):
        from ..files import check_writable
        from .console import Console

        console = Console(quiet=options["quiet"], verbose=False)
        for path in (options["output"], options["tuned"]):
            if path is not None:
                check_writable(path.resolve().parent)
        set_threads(options["threads"])
        with console:
            result = _of_parser(options, console) if options["weights"] else _of_files(options)
    from ..evaluation.tables import class_table, score_table

    tables = [score_table(result), *([class_table(result)] if options["per_class"] else [])]
    document = result.to_dict()
    if not options["per_class"]:
        del document["classes"]
    write_result(document, tables, options)
    return 0


def _check_usage(options: Mapping[str, Any]) -> None:
    if options["annotations"] is None:
        raise click.UsageError("missing --annotations")
    named = [name for name in ("weights", "timelines", "pseudo_labels") if options[name] is not None]
    if len(named) != 1:
        raise click.UsageError("name what to score: --weights and --features, or --timelines, or --pseudo-labels")
    if options["weights"] is None:
        decided = ("features", "weights_dir", "threads", "threshold", "thresholds", "tuned")
        if clash := [name for name in decided if options[name] is not None]:
            raise click.UsageError(f"{_option(named[0])} are decided already; leave out {_option(clash[0])}")
    elif options["features"] is None:
        raise click.UsageError("--weights needs --features")
    elif options["allow_missing"]:
        raise click.UsageError("--allow-missing is for --timelines and --pseudo-labels")
    if sum(options[name] is not None for name in ("threshold", "thresholds", "tuned")) > 1:
        raise click.UsageError("--threshold, --thresholds and --tune-thresholds exclude each other")


def _option(name: str) -> str:
    return "--tune-thresholds" if name == "tuned" else f"--{name.replace('_', '-')}"


def _of_files(options: Mapping[str, Any]) -> Evaluation:
    from ..datasets.annotations import read_annotations
    from ..evaluation.evaluate_pseudo_labels import evaluate_pseudo_labels
    from ..evaluation.evaluate_timelines import evaluate_timelines

    annotations, split = read_annotations(options["annotations"]), options["split"]
    if options["timelines"] is not None:
        return evaluate_timelines(options["timelines"], annotations, split, allow_missing=options["allow_missing"])
    return evaluate_pseudo_labels(options["pseudo_labels"], annotations, split, allow_missing=options["allow_missing"])


def _of_parser(options: Mapping[str, Any], console: Console) -> Evaluation:
    from ..evaluation.evaluate_parser import ParserEvaluator
    from ..files import write_atomic
    from ..inference.bundle import load_parser
    from ..inference.thresholds import DEFAULT_THRESHOLD, apply_tables, read_thresholds

    tables = read_thresholds(options["thresholds"]) if options["thresholds"] else {}
    loaded = load_parser(
        options["weights"],
        source=replace(read_source(options), progress=console.download),
        device=options["device"],
    )
    judge = ParserEvaluator(loaded, options["annotations"], options["features"], progress=console.count)
    level = DEFAULT_THRESHOLD if options["threshold"] is None else options["threshold"]
    thresholds = apply_tables(tables, loaded.parser.config.labels, level, level)
    notes: list[str] = []
    if options["tuned"] is not None:
        thresholds = judge.tune()
        write_atomic(options["tuned"], thresholds.to_toml().encode())
        where = "on these very clips" if options["split"] == "val" else "on the validation split"
        notes.append(f"Thresholds were tuned {where}.")
    return judge.evaluate(options["split"], thresholds, notes)
