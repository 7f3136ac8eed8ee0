"""Command avvp evaluate: score a parser, a localizer, event files or pseudo labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....weights.manifest import OPEN_BUNDLE
from ....weights.remote.bundles import load_bundle
from ..missing_weights import provide_weights
from ..options.command import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    OUTPUT_FILE,
    FiniteRange,
    command,
    drop_defaults,
    exit_2_on_error,
    is_given,
    option,
)
from ..options.event_outputs import print_written
from ..options.groups import AnnotationOptions, DownloadOptions, FeatureOptions, RunningOptions, set_torch_threads
from ..options.open_options import OpenOptions
from ..options.table_output import TableFileOptions, write_result

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...evaluation.detection import DetectionEvaluation
    from ...evaluation.evaluate import Evaluation
    from ...evaluation.localization import LocalizationEvaluation
    from ...evaluation.ov_avel import OvAvelEvaluation
    from ...evaluation.ranking import RankingEvaluation
    from ...evaluation.tables import Table
    from ...inference.thresholds import ThresholdTables
    from ..console import Console

    AnyEvaluation = Evaluation | LocalizationEvaluation | RankingEvaluation | DetectionEvaluation | OvAvelEvaluation

TUNING = ("scores", "visual-videos")
METRICS = ("scores", "ranking", "detection", "ov-avel")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(
    AnnotationOptions, FeatureOptions, OpenOptions, TableFileOptions, DownloadOptions, RunningOptions
):
    """Options of avvp evaluate."""

    weights: str | None = field(
        metadata=option(
            "--weights", metavar="NAME|FOLDER", help="Bundle with the network to score, such as the folder of a run."
        )
    )
    timelines: Path | None = field(
        metadata=option(
            "--timelines",
            type=EXISTING_FOLDER,
            help="Score a folder of JSON files of events, by any program, instead of a parser.",
        )
    )
    pseudo_labels: Path | None = field(
        metadata=option(
            "--pseudo-labels",
            type=EXISTING_FOLDER,
            help="Score pseudo labels instead of a parser: a folder with CLIP/segment_pseudo_labels/ and"
            " CLAP/segment_pseudo_labels/.",
        )
    )
    split: str = field(
        metadata=option("--split", type=click.Choice(["val", "test"]), default="test", help="Split to score.")
    )
    metrics: str = field(
        metadata=option(
            "--metrics",
            type=click.Choice(METRICS),
            default=METRICS[0],
            show_default="the ten F-scores, of localizers accuracy",
            help="ranking: AP and AUROC of scores per second, without thresholds; detection: mean AP of events at"
            " temporal IoU 0.1 to 0.9, as for UnAV-100; ov-avel: its Acc, Seg and Eve, of seen and unseen classes.",
        )
    )
    per_class: bool = field(
        metadata=option("--per-class", is_flag=True, help="Add the scores of each class: of a parser those of events.")
    )
    allow_missing: bool = field(
        metadata=option(
            "--allow-missing", is_flag=True, help="Score only clips with results; the report says how many."
        )
    )
    threshold: float | None = field(
        metadata=option(
            "--threshold",
            type=FiniteRange(0, 1),
            show_default="the bundle's, mostly 0.5",
            help="Decision threshold of all classes.",
        )
    )
    thresholds: Path | None = field(
        metadata=option(
            "--thresholds",
            type=EXISTING_FILE,
            help="TOML or JSON file with thresholds per class and modality, as for 'avvp parse'.",
        )
    )
    tuned: Path | None = field(
        metadata=option(
            "--tune-thresholds",
            type=OUTPUT_FILE,
            help="Choose thresholds on the validation split, write them to this file, and score with them.",
        )
    )
    tune_by: str | None = field(
        metadata=option(
            "--tune-by",
            type=click.Choice(TUNING),
            show_default=TUNING[0],
            help="What is tuned: all thresholds, by the mean of the ten scores; or those of visual videos alone, class"
            " by class by visual event-level F, as CMPAE does.",
        )
    )


@command(
    EvaluateOptions,
    examples=(
        "avvp evaluate --weights runs/leap --annotations llp/ --features feats/",
        "avvp evaluate --weights leap-llp --annotations llp/ --features feats.packed --per-class -f markdown",
        "avvp evaluate --timelines events/ --annotations llp/ -f json -o scores.json",
        'avvp evaluate --timelines events/ --annotations clips/ --classes "dog barking, applause" --metrics ranking',
        "avvp evaluate --pseudo-labels valor/ --annotations llp/ --split val",
        "avvp evaluate --weights runs/leap --annotations llp/ --features feats/ --tune-thresholds thresholds.toml",
        "avvp evaluate --weights runs/cmpae --annotations llp/ --features feats/ --tune-thresholds thresholds.toml"
        " --tune-by visual-videos",
    ),
    notes="Exit status: 0 success; 1 the result cannot be written; 2 wrong usage, or unusable data.",
)
def evaluate(options: EvaluateOptions) -> int:
    """Score a parser, a localizer, event files or pseudo labels.

    Prints the ten F-scores of the published protocol and their mean, for all clips, and separately for clips with and
    without overlap: a clip is overlapping if two or more events of one modality are active in one of its seconds.

    Of a localizer, and where the annotations are in AVE's form: the percentage of seconds whose class is right, beside
    that of simple rules; events found and missed; the most frequent confusions of classes; videos that are in other
    splits, too.

    With --classes, an open bundle is scored for these classes on embeddings that were kept (the folder of results of
    'avvp parse --classes --output-dir'), or on features of 'avvp extract'; of --timelines, these classes are scored.
    """
    options = _without_unfit_defaults(options)
    annotations = _check_usage(options)
    with exit_2_on_error(debug=options.debug):
        from ...files import check_folder_of
        from ..console import Console

        console = Console(quiet=options.quiet)
        outputs = [path for path in (options.output, options.tuned) if path is not None]
        for path in outputs:
            check_folder_of(path)
        bundle = None if options.weights is None else _read_bundle(options, options.weights)
        if bundle is not None:
            provide_weights(bundle if bundle.is_open else bundle.without_extractors(), options, console)
        with console:
            console.busy("reading" if bundle is None else "loading networks")
            set_torch_threads(options.threads)
            if bundle is not None and options.features is not None:
                evaluate_network = _evaluate_open if bundle.is_open else _evaluate_parser
                result = evaluate_network(bundle, annotations, options.features, options, console)
            else:
                result = _evaluate_files(annotations, options)
    tables = _make_tables(result, per_class=options.per_class)
    document = result.to_dict()
    if not options.per_class:
        document.pop("classes", None)
    write_result(document, tables, options, options.output)
    print_written(outputs, quiet=options.quiet)
    return 0


def _make_tables(result: AnyEvaluation, *, per_class: bool) -> list[Table]:
    from ...evaluation.detection import DetectionEvaluation
    from ...evaluation.localization import LocalizationEvaluation
    from ...evaluation.localization_tables import localization_tables
    from ...evaluation.open_tables import detection_tables, ov_avel_tables, ranking_tables
    from ...evaluation.ov_avel import OvAvelEvaluation
    from ...evaluation.ranking import RankingEvaluation
    from ...evaluation.tables import class_table, score_table

    if isinstance(result, LocalizationEvaluation):
        return localization_tables(result, per_class=per_class)
    if isinstance(result, RankingEvaluation):
        return ranking_tables(result, per_class=per_class)
    if isinstance(result, DetectionEvaluation):
        return detection_tables(result, per_class=per_class)
    if isinstance(result, OvAvelEvaluation):
        return ov_avel_tables(result)
    return [score_table(result), *([class_table(result)] if per_class else [])]


def _without_unfit_defaults(options: EvaluateOptions) -> EvaluateOptions:
    """Drop what the environment and avvp.toml set of a parser or its thresholds where the user typed something else."""
    thresholds = ("threshold", "thresholds", "tuned", "tune_by")
    if any(map(is_given, thresholds)):
        options = drop_defaults(options, *thresholds)
    if options.metrics == "ranking":  # has none
        options = drop_defaults(options, *thresholds)
    if options.metrics == "ov-avel":
        options = drop_defaults(options, "per_class")
    if is_given("weights"):
        return drop_defaults(options, "timelines", "pseudo_labels")
    if options.classes is not None and options.weights is None and not options.timelines and not options.pseudo_labels:
        return replace(options, weights=OPEN_BUNDLE)
    if is_given("timelines") or is_given("pseudo_labels"):
        parser_only = ("weights", "features", "weights_dir", "threads", *thresholds)
        return drop_defaults(options, "timelines", "pseudo_labels", *parser_only)
    return options


def _check_usage(options: EvaluateOptions) -> Path:
    """Return --annotations. Raises click.UsageError for options that do not go together."""
    if options.annotations is None:
        raise click.UsageError("missing --annotations")
    subjects = _given(
        {
            "--weights": options.weights,
            "--timelines": options.timelines,
            "--pseudo-labels": options.pseudo_labels,
        }
    )
    thresholds = _thresholds(options)
    if len(subjects) != 1:
        raise click.UsageError("name what to score: --weights and --features, or --timelines, or --pseudo-labels")
    if options.weights is None:
        parser_only = {
            "--features": options.features,
            "--weights-dir": options.weights_dir,
            "--yes": options.yes or None,
            "--threads": options.threads,
            **thresholds,
        }
        if flags := _given(parser_only):
            raise click.UsageError(f"{subjects[0]} are decided already; leave out {flags[0]}")
    elif options.features is None:
        raise click.UsageError("--weights needs --features")
    if len(_given(thresholds)) > 1:
        raise click.UsageError("--threshold, --thresholds and --tune-thresholds exclude each other")
    if options.tune_by is not None and options.tuned is None:
        raise click.UsageError("--tune-by goes with --tune-thresholds")
    _check_metrics(options)
    return options.annotations


def _check_metrics(options: EvaluateOptions) -> None:
    """Raise click.UsageError for --metrics and --classes of what has none."""
    if options.weights is None and (flags := options.rule_flags()):
        raise click.UsageError(f"{flags[0]} goes with --weights of an open bundle")
    if options.weights is not None and options.metrics == "detection":
        raise click.UsageError("--metrics detection is for --timelines: 'avvp parse' writes them")
    if options.pseudo_labels is not None and options.metrics != METRICS[0]:
        raise click.UsageError(f"--pseudo-labels have no --metrics {options.metrics}")
    if options.pseudo_labels is not None and options.classes is not None:
        raise click.UsageError("--classes is for --timelines and open bundles")
    if options.tuned is not None and options.metrics != METRICS[0]:
        raise click.UsageError(f"--tune-thresholds is by scores; leave out --metrics {options.metrics}")
    if options.metrics == "ranking" and (flags := _given(_thresholds(options))):
        raise click.UsageError(f"--metrics ranking has no thresholds; leave out {flags[0]}")
    if options.metrics == "ov-avel" and options.per_class:
        raise click.UsageError("--metrics ov-avel has no scores of single classes; leave out --per-class")


def _read_bundle(options: EvaluateOptions, name: str) -> Bundle:
    """Return the bundle of --weights, an open one with the classes of --classes. Raises click.UsageError."""
    bundle = options.with_classes(load_bundle(name, options.source()))
    if bundle.is_open and options.tuned is not None:
        raise click.UsageError("avvp calibrate chooses the thresholds of --classes; leave out --tune-thresholds")
    if options.allow_missing and not bundle.is_open:
        raise click.UsageError("--allow-missing is for --timelines, --pseudo-labels and open bundles")
    bundle.check_has_classes()
    return bundle


def _thresholds(options: EvaluateOptions) -> dict[str, object]:
    """Return flag -> value of what sets thresholds."""
    return {
        "--threshold": options.threshold,
        "--thresholds": options.thresholds,
        "--tune-thresholds": options.tuned,
    }


def _given(values: dict[str, object]) -> list[str]:
    """Return the flags whose value is not None."""
    return [flag for flag, value in values.items() if value is not None]


def _evaluate_files(folder: Path, options: EvaluateOptions) -> AnyEvaluation:
    from ...evaluation.evaluate_pseudo_labels import evaluate_pseudo_labels
    from ...evaluation.evaluate_timelines import evaluate_timelines
    from ...evaluation.open_evaluation import detect_timelines, rank_timelines, score_timelines_ov_avel
    from ..options.user_annotations import read_user_annotations

    classes = options.labels()
    annotations, split = read_user_annotations(folder, quiet=options.quiet), options.split
    if options.timelines is not None:
        functions: dict[str, Callable[..., AnyEvaluation]] = {
            "scores": evaluate_timelines,
            "ranking": rank_timelines,
            "detection": detect_timelines,
            "ov-avel": score_timelines_ov_avel,
        }
        return functions[options.metrics](
            options.timelines, annotations, split, allow_missing=options.allow_missing, classes=classes
        )
    assert options.pseudo_labels is not None
    if annotations.task == "avel":
        raise click.UsageError("--pseudo-labels are scored against annotations of what is heard and what is seen")
    return evaluate_pseudo_labels(options.pseudo_labels, annotations, split, allow_missing=options.allow_missing)


def _evaluate_open(
    bundle: Bundle, annotations: Path, features: Path, options: EvaluateOptions, console: Console
) -> AnyEvaluation:
    from ...evaluation.evaluate_open import OpenEvaluator
    from ...inference.bundle import load_networks
    from ..options.user_annotations import read_user_annotations

    data = read_user_annotations(annotations, quiet=options.quiet)
    source = options.source(console.download_progress)
    loaded = load_networks(bundle, source=source, device=options.device, outline=True)
    tables = _tables(options)
    if options.thresholds is not None:
        from ...inference.thresholds import check_per_second

        check_per_second(tables, options.thresholds)
    thresholds = loaded.thresholds.changed(tables, segment=options.threshold)
    progress = console.count_progress(f"scoring {options.split}")
    evaluator = OpenEvaluator(
        loaded, data, features, options.split, allow_missing=options.allow_missing, progress=progress
    )
    if options.metrics == "ranking":
        return evaluator.rank()
    return evaluator.evaluate_ov_avel(thresholds) if options.metrics == "ov-avel" else evaluator.evaluate(thresholds)


def _tables(options: EvaluateOptions) -> ThresholdTables:
    from ...inference.thresholds import NO_TABLES, read_thresholds

    return read_thresholds(options.thresholds) if options.thresholds else NO_TABLES


def _evaluate_parser(
    bundle: Bundle, annotations: Path, features: Path, options: EvaluateOptions, console: Console
) -> AnyEvaluation:
    from ...evaluation.evaluate_parser import ParserEvaluator
    from ...files import make_folder_of, write_atomic
    from ...inference.bundle import load_parser
    from ..options.user_annotations import print_notices

    tables = _tables(options)
    loaded = load_parser(bundle, source=options.source(console.download_progress), device=options.device)
    evaluator = ParserEvaluator(loaded, annotations, features, progress=console.count_progress)
    print_notices(evaluator.annotations.notices, quiet=options.quiet)
    thresholds = loaded.thresholds.changed(tables, segment=options.threshold, video=options.threshold)
    notes: list[str] = []
    if options.tuned is not None:
        thresholds = evaluator.tune(options.tune_by or TUNING[0])
        make_folder_of(options.tuned)
        write_atomic(options.tuned, thresholds.to_toml().encode())
        clips = "these very clips" if options.split == "val" else "the validation split"
        notes.append(f"Thresholds were tuned on {clips}.")
    elif loaded.own_thresholds is not None and options.threshold is None and options.thresholds is None:
        notes.append("Thresholds are those of the bundle's file.")
    if options.metrics == "ranking":
        return evaluator.rank(options.split)
    if options.metrics == "ov-avel":
        return evaluator.evaluate_ov_avel(options.split, thresholds, notes)
    return evaluator.evaluate(options.split, thresholds, notes)
