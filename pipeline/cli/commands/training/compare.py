"""Command avvp compare: set runs, bundles and folders of event files side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .....weights.manifest import BUNDLE_FILE, list_bundles
from .....weights.remote.bundles import load_bundle
from ....comparison.limits import MAX_RESAMPLES, MAX_SYSTEMS
from ....text import escape
from ...missing_weights import provide_weights
from ...options.command import (
    EXISTING_PATH,
    OUTPUT_FILE,
    CommandOptions,
    FiniteRange,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    option,
)
from ...options.event_outputs import check_outputs, check_suffix, print_written
from ...options.groups import AnnotationOptions, DownloadOptions, RunningOptions, set_torch_threads
from ...options.table_output import TableFileOptions, write_result, write_text_result

if TYPE_CHECKING:
    from .....weights.manifest import Bundle
    from ....comparison.compare import Comparison, SystemDecisions
    from ....datasets.annotations import Annotations
    from ...console import Console

FORMATS = ("table", "json", "markdown", "latex", "csv")
_CLASS_SCORES = {"avvp": "event.event_av", "avel": "accuracy"}  # task -> score of a class that is shown
_SCORES = (
    *(f"{level}.{name}" for level in ("segment", "event")
      for name in ("audio", "visual", "audio_visual", "type_av", "event_av")),
    "mean",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(CommandOptions):
    """Clips, scores and intervals."""

    heading: ClassVar[str] = "Comparison"
    features: tuple[Path, ...] = field(
        metadata=option(
            "--features",
            type=EXISTING_PATH,
            multiple=True,
            help="Folder of features or packed store, for networks; repeatable: each network reads its own profile's.",
        )
    )
    split: str = field(
        metadata=option("--split", type=click.Choice(["val", "test"]), default="test", help="Split to score.")
    )
    allow_missing: bool = field(
        metadata=option(
            "--allow-missing", is_flag=True, help="Leave out clips that a folder of event files lacks, for all systems."
        )
    )
    per_class: bool = field(metadata=option("--per-class", is_flag=True, help="Add the scores of each class."))
    class_score: str | None = field(
        metadata=option(
            "--class-score",
            type=click.Choice(_SCORES),
            show_default="event.event_av",
            help="Score that the table and the plot show of each class; JSON and CSV have all.",
        )
    )
    resamples: int = field(
        metadata=option(
            "--resamples", type=click.IntRange(1, MAX_RESAMPLES), default=2000, help="Resamples of the videos."
        )
    )
    confidence: float = field(
        metadata=option(
            "--confidence",
            type=FiniteRange(0, 100, min_open=True, max_open=True),
            default=95,
            metavar="PERCENT",
            help="Share of the resamples that are inside an interval.",
        )
    )
    seed: int = field(
        metadata=option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of the resamples.")
    )


@dataclass(frozen=True, kw_only=True)
class ComparisonFileOptions(TableFileOptions):
    """Form and files of the result."""

    heading: ClassVar[str] = "Result"
    form: str = field(
        metadata=option("-f", "--format", type=click.Choice(FORMATS), default="table", help="Format of the result.")
    )
    plot: Path | None = field(
        metadata=option("--plot", type=OUTPUT_FILE, help="Plot of scores and differences: png, svg or pdf.")
    )


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ComparisonOptions, AnnotationOptions, ComparisonFileOptions, DownloadOptions, RunningOptions):
    """Options of avvp compare."""

    systems: tuple[str, ...] = field(metadata=argument(nargs=-1, required=True, metavar="RUN..."))


@command(
    CompareOptions,
    examples=(
        "avvp compare runs/mmil runs/leap --annotations llp/ --features feats/",
        "avvp compare runs/mmil runs/leap --annotations llp/ --features feats/ --per-class --plot compared.svg",
        "avvp compare runs/leap events/ --annotations llp/ --features feats/ -f latex -o compared.tex",
        "avvp compare old-events/ new-events/ --annotations llp/ --resamples 10000 -f csv -o compared.csv",
    ),
    notes="Exit status: 0 success; 1 the result cannot be written; 2 wrong usage, or unusable data.",
)
def compare(options: CompareOptions) -> int:
    """Compare runs, bundles and folders of event files on the same clips.

    RUN is the folder of a run, the name or folder of a bundle, an address of a hub, or a folder of JSON files of
    events, by any program. Prints the ten F-scores of each (of localizers the accuracies) and their differences to the
    first, for all clips, those with overlapping events and the others, with bootstrap intervals: videos are drawn with
    replacement, the same ones for all systems, so that differences are paired. A single RUN gets the intervals of its
    scores. Networks decide by the thresholds and the rule of their bundles.
    """
    _check_usage(options)
    with exit_2_on_error(debug=options.debug):
        from ...console import Console
        from ...options.user_annotations import read_user_annotations

        if options.plot is not None:
            from ....outputs.plots.figure import PLOT_SUFFIXES

            check_suffix("--plot", options.plot, PLOT_SUFFIXES)
        outputs = [path for path in (options.output, options.plot) if path is not None]
        check_outputs(outputs)
        console = Console(quiet=options.quiet)
        bundles = {name: load_bundle(name, options.source()) for name in options.systems if not _holds_events(name)}
        if bundles and not options.features:
            raise click.UsageError(f"{next(iter(bundles))} is a network, which reads --features")
        for bundle in bundles.values():
            provide_weights(bundle.without_extractors(), options, console)
        assert options.annotations is not None
        annotations = read_user_annotations(options.annotations, quiet=options.quiet)
        with console:
            console.busy("reading" if not bundles else "loading networks")
            comparison = _compare(bundles, annotations, options, console)
    class_score = options.class_score or _CLASS_SCORES[comparison.protocol.task]
    if class_score not in comparison.protocol.scores:
        raise click.UsageError(f"--class-score {class_score}: localizers have {', '.join(comparison.protocol.scores)}")
    _write(comparison, class_score, options)
    if options.plot is not None:
        with exit_1_on_error(debug=options.debug):
            _plot(comparison, class_score, options.plot)
    print_written(outputs, quiet=options.quiet)
    return 0


def _check_usage(options: CompareOptions) -> None:
    """Raise click.UsageError for options that do not go together."""
    if options.annotations is None:
        raise click.UsageError("missing --annotations")
    if len(options.systems) > MAX_SYSTEMS:
        raise click.UsageError(f"{len(options.systems)} runs; at most {MAX_SYSTEMS} are compared at a time")
    if twice := [name for index, name in enumerate(options.systems) if name in options.systems[:index]]:
        raise click.UsageError(f"{escape(twice[0])} is named twice")
    if options.class_score is not None and not options.per_class:
        raise click.UsageError("--class-score goes with --per-class")


def _holds_events(name: str) -> bool:
    """Return whether a name stands for a folder of event files: it is a folder, of no bundle."""
    return name not in list_bundles() and Path(name).is_dir() and not (Path(name) / BUNDLE_FILE).is_file()


def _compare(
    bundles: dict[str, Bundle], annotations: Annotations, options: CompareOptions, console: Console
) -> Comparison:
    from ....comparison.bootstrap import Resampling
    from ....comparison.compare import compare as compare_systems
    from ....comparison.read_systems import distinct_names, read_timelines_of

    systems: list[SystemDecisions] = []
    if bundles:
        set_torch_threads(options.threads)
    for given, name in zip(options.systems, distinct_names(options.systems), strict=True):
        if given in bundles:
            systems.append(_run(bundles[given], name, options, console))
        else:
            systems.append(
                read_timelines_of(Path(given), name, annotations, options.split, allow_missing=options.allow_missing)
            )
    console.busy("resampling")
    resampling = Resampling(resamples=options.resamples, seed=options.seed, confidence=options.confidence)
    return compare_systems(
        systems, annotations, options.split, resampling, per_class=options.per_class,
        allow_missing=options.allow_missing,
    )  # fmt: skip


def _run(bundle: Bundle, name: str, options: CompareOptions, console: Console) -> SystemDecisions:
    from ....comparison.read_systems import run_network
    from ....inference.bundle import load_parser

    assert options.annotations is not None
    loaded = load_parser(bundle, source=options.source(console.download_progress), device=options.device)
    return run_network(
        loaded,
        name,
        annotations=options.annotations,
        features=options.features,
        split=options.split,
        thresholds=loaded.thresholds,
        progress=console.count_progress,
    )


def _write(comparison: Comparison, class_score: str, options: CompareOptions) -> None:
    from ....comparison.tables import comparison_csv, comparison_latex, comparison_tables

    texts = {"latex": comparison_latex, "csv": comparison_csv}
    if options.form in texts:
        write_text_result(texts[options.form](comparison), options.output, debug=options.debug)
    else:
        write_result(comparison.to_dict(), comparison_tables(comparison, class_score), options, options.output)


def _plot(comparison: Comparison, class_score: str, path: Path) -> None:
    from ....comparison.tables import describe_resampling, score_names
    from ....outputs.plots.intervals import IntervalMark, IntervalPanel, plot_intervals

    everyone = range(len(comparison.names))
    scores = list(zip(score_names(comparison), comparison.protocol.scores, strict=True))

    def mark(system: int, group: int, score: str, *, difference: bool) -> IntervalMark | None:
        found = comparison.difference(system, group, score) if difference else comparison.score(system, group, score)
        return None if math.isnan(found.value) else IntervalMark(*found)

    def panels(title: str, rows: list[tuple[str, int, str]]) -> list[IntervalPanel]:
        """Make a panel of scores and one of differences. rows: label, group and score of each."""
        made = []
        for systems, difference in ((everyone, False), (everyone[1:], True)):
            marks = [
                (label, [mark(system, group, score, difference=difference) for system in systems])
                for label, group, score in rows
            ]
            suffix = f": difference to {comparison.names[0]}" if difference else ""
            if systems:
                made.append(IntervalPanel(f"{title}{suffix}", systems, marks, zero=difference))
        return made

    groups = comparison.groups
    drawn = panels(f"{comparison.split} split, {groups[0].clips:,} clips", [(name, 0, key) for name, key in scores])
    classes = [(escape(group.name), index, class_score) for index, group in enumerate(groups) if group.is_class]
    if classes:
        short = {key: name for name, key in scores}[class_score]
        drawn += panels(f"{short} by class", classes)
    plot_intervals(drawn, comparison.names, [describe_resampling(comparison).replace("In brackets", "Lines")], path)
