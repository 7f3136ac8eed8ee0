"""Tables of our scores beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..evaluation.evaluate import Evaluation
from ..evaluation.localization import LocalizationEvaluation, describe_overlap
from ..evaluation.localization_tables import LOCALIZATION_HEADER, localization_cells
from ..evaluation.selection import DEFAULT_SELECTION
from ..evaluation.tables import SCORE_HEADER, Table, class_table, score_cells
from ..metrics import SCORE_NAMES
from ..text import escape
from ..training.setup import VALIDATION
from .paper_tables import PaperRun
from .reproduce import Experiment
from .systems import SYSTEMS

_NO_SCORE = "-"
_LAST = "last"  # select of recipes that take the last epoch


Results = Sequence[tuple[PaperRun, Evaluation | LocalizationEvaluation]]


def result_tables(experiment: Experiment, results: Results) -> list[Table]:
    """Make tables of our scores beside the paper's.

    Args:
        experiment: of `make_experiment`.
        results: of `run_experiment`.

    Returns:
        One table; for Fig. 3, one for each run.
    """
    if experiment.table.rows == "localization":
        localized = [(run, found) for run, found in results if isinstance(found, LocalizationEvaluation)]
        return [_localization_table(experiment, localized)]
    parsed = [(run, found) for run, found in results if isinstance(found, Evaluation)]
    if experiment.table.rows == "classes":
        return [_class_table(f"{experiment.name}: {run.name}", run, evaluation) for run, evaluation in parsed]
    if experiment.table.rows == "systems":
        return [_system_table(experiment, parsed)]
    header: tuple[str, ...] = ("run", *SCORE_HEADER)
    rows: list[tuple[str, ...]] = []
    for run, evaluation in parsed:
        if experiment.table.rows == "subsets":
            rows += _subset_rows(run, evaluation)
        else:
            rows.append((f"{run.name}: ours", *score_cells(evaluation.scores)))
            rows.append((f"{run.name}: paper", *_format(run.paper, len(SCORE_HEADER))))
    clips = parsed[0][1].whole.clips
    notes = [f"Test split, {clips} clips, with the thresholds of each recipe; {_chosen_by(experiment)}."]
    if experiment.table.rows == "subsets":
        header = (*header, "ev mean")
        notes.append("The paper prints event-level scores only; 'ev mean' is the mean of the five.")
    return [Table(f"{experiment.name}: {experiment.table.title}", header, tuple(rows), tuple(notes))]


def _system_table(experiment: Experiment, results: Sequence[tuple[PaperRun, Evaluation]]) -> Table:
    """Return the table of all systems: ours and the paper's, by which split the epoch was chosen, and the licence."""
    ours = {run.name: evaluation for run, evaluation in results}
    # The split that chooses the epoch of each run; a recipe may take the last one.
    chosen = {
        run.name: "none" if plan.recipe.training.select == _LAST else plan.select for run, plan, _ in experiment.plans
    }
    rows: list[tuple[str, ...]] = []
    for run in experiment.table.runs:
        system = SYSTEMS[run.name]
        if run.name in ours:
            rows.append((f"{run.name}: ours", *score_cells(ours[run.name].scores), chosen[run.name], _NO_SCORE))
        paper = _format(run.paper, len(SCORE_HEADER))
        only = "" if run.trained else " (figures only)"
        rows.append((f"{run.name}: paper{only}", *paper, system.selection_split, system.licence))
    clips = results[0][1].whole.clips
    notes = [
        f"Ours: test split, {clips:,} clips, with the thresholds of each recipe. 'epoch by' is the split by which the"
        " best epoch is chosen: of ours, and of the published program (none: the last epoch; ?: not known).",
        *([] if experiment.select == VALIDATION else [_chosen_on(experiment.select)]),
        *experiment.table.notes,
        *(f"{run.name}: ours with thresholds tuned on validation ({run.tuning})." for run, _ in results if run.tuning),
        *(f"{name}: {caveat}" for name in ours for caveat in SYSTEMS[name].caveats),
    ]
    title = f"{experiment.name}: {experiment.table.title}"
    return Table(title, ("run", *SCORE_HEADER, "epoch by", "licence"), tuple(rows), tuple(notes))


def _chosen_by(experiment: Experiment) -> str:
    """Return what chooses the epoch of each run, by the validation split."""
    selections = sorted({plan.recipe.training.select for _, plan, _ in experiment.plans})
    if selections == [DEFAULT_SELECTION]:
        return "best epoch by the segment-level Type@AV on the validation split"
    if selections == [_LAST]:
        return "the last epoch"
    return f"best epoch on the validation split by {', '.join(selections)} (training.select)"


def _chosen_on(split: str) -> str:
    return f"BEST EPOCH CHOSEN ON THE {split.upper()} SPLIT itself: our scores are too high."


def _localization_table(experiment: Experiment, results: Sequence[tuple[PaperRun, LocalizationEvaluation]]) -> Table:
    """Return the table of accuracies, with the rules that look at no features below the runs."""
    rows: list[tuple[str, ...]] = []
    for run, evaluation in results:
        rows.append((f"{run.name}: ours", *localization_cells(evaluation.scores)))
        rows.append((f"{run.name}: paper", *_format(run.paper, len(LOCALIZATION_HEADER))))
    first = results[0][1]
    rows += [(escape(name), *localization_cells(scores)) for name, scores in first.baselines.items()]
    selection = "best epoch by the accuracy on the validation split."
    if experiment.select != VALIDATION:
        selection = (
            f"BEST EPOCH CHOSEN ON THE {experiment.select.upper()} SPLIT itself, as the published programs of PSP and"
            " CMBS do: these accuracies are too high."
        )
    notes = (
        f"Percent of seconds whose class is right, {first.split} split, {first.clips:,} clips: of all seconds, of those"
        f" with an event, of those without; {selection}",
        describe_overlap(first),
        *experiment.table.notes,
    )
    title = f"{experiment.name}: {experiment.table.title}"
    return Table(title, ("run", *LOCALIZATION_HEADER), tuple(rows), notes)


def _subset_rows(run: PaperRun, evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Return the rows of a run in Table 3: ours and the paper's of each subset, with the mean of the event level."""
    levels = len(SCORE_NAMES)
    rows: list[tuple[str, ...]] = []
    subsets = (
        ("overlapping", "overlapping", evaluation.overlapping),
        ("non-overlapping", "non_overlapping", evaluation.non_overlapping),
    )
    for title, key, subset in subsets:
        paper = _format(run.paper_parts[key], levels + 1)
        event_scores = [] if subset.scores is None else [getattr(subset.scores.event, name) for name in SCORE_NAMES]
        rows.append(
            (
                f"{run.name}, {title} ({subset.clips}): ours",
                *score_cells(subset.scores),
                *_format(_mean(event_scores), 1),
            )
        )
        rows.append((f"{run.name}, {title}: paper", *[_NO_SCORE] * levels, *paper[:levels], _NO_SCORE, paper[levels]))
    return rows


def _mean(scores: Iterable[float]) -> tuple[float, ...]:
    """Return the mean of the scores that are not NaN; nothing if there are none."""
    known = [score for score in scores if not math.isnan(score)]
    return (sum(known) / len(known),) if known else ()


def _class_table(title: str, run: PaperRun, evaluation: Evaluation) -> Table:
    """Return the class table with the paper's audio and visual scores, and a row of means over the classes."""
    table = class_table(evaluation)
    rows = [
        (*row, *_format(run.paper_parts.get(label, ()), 2))
        for label, row in zip(evaluation.classes, table.rows, strict=True)
    ]
    present = [scores.event for scores in evaluation.classes.values() if scores is not None]
    means = [_format(_mean(getattr(scores, name) for scores in present), 1)[0] for name in SCORE_NAMES]
    rows.append(("mean", *means, *_format(run.paper_parts["mean"], 2)))
    note = "The paper's mean is over the 25 classes of LLP, ours over the classes that occur."
    header = (*table.header, "A paper", "V paper")
    return Table(title, header, tuple(rows), (*table.notes, note))


def _format(scores: tuple[float, ...], columns: int) -> tuple[str, ...]:
    """Format scores with one decimal, and fill the row with dashes."""
    return (*(f"{score:.1f}" for score in scores), *[_NO_SCORE] * (columns - len(scores)))
