"""Tables of the scores of event localization."""

from __future__ import annotations

from ..text import escape
from .localization import ClassScores, LocalizationEvaluation, LocalizationScores, describe_overlap
from .tables import Table, number_cell

LOCALIZATION_HEADER = ("accuracy", "events", "background")


def localization_cells(scores: LocalizationScores) -> tuple[str, ...]:
    """Return a cell for each column of `LOCALIZATION_HEADER`, with one decimal."""
    return tuple(map(number_cell, scores))


def localization_tables(evaluation: LocalizationEvaluation, *, per_class: bool = False) -> list[Table]:
    """Make the tables of an evaluation.

    Args:
        evaluation: of one system on one split.
        per_class: add a table with a row for each class.

    Returns:
        Scores beside those of simple rules, events found and missed, and the most frequent confusions of classes, if
        there are any.
    """
    tables = [_score_table(evaluation), _detection_table(evaluation)]
    if evaluation.confusions:
        tables.append(_confusion_table(evaluation))
    return [*tables, *([_class_table(evaluation)] if per_class else [])]


def _score_table(evaluation: LocalizationEvaluation) -> Table:
    rows = [(escape(evaluation.source), *localization_cells(evaluation.scores))]
    rows += [(escape(name), *localization_cells(scores)) for name, scores in evaluation.baselines.items()]
    notes = (
        f"Percent of seconds whose class is right: of all {int(evaluation.confusion.sum()):,} seconds of"
        f" {evaluation.clips:,} clips, of those with an event, of those without one.",
        describe_overlap(evaluation),
        *evaluation.notes,
    )
    title = f"{evaluation.source}, {evaluation.split} split"
    return Table(title, (evaluation.split, *LOCALIZATION_HEADER), tuple(rows), notes)


def _detection_table(evaluation: LocalizationEvaluation) -> Table:
    (found, missed), (invented, rejected) = evaluation.detection.tolist()
    rows = (
        ("seconds with an event", f"{found:,}", f"{missed:,}"),
        ("seconds without one", f"{invented:,}", f"{rejected:,}"),
    )
    right = int(evaluation.confusion.trace() - evaluation.confusion[-1, -1])
    note = f"Of the {found:,} event seconds that are found, {right:,} have the right class."
    return Table("Events and background", ("annotated", "as event", "as background"), rows, (note,))


def _confusion_table(evaluation: LocalizationEvaluation) -> Table:
    rows = tuple((escape(pair.truth), escape(pair.predicted), f"{pair.seconds:,}") for pair in evaluation.confusions)
    return Table("Most frequent confusions of classes", ("annotated", "predicted", "seconds"), rows)


def _class_table(evaluation: LocalizationEvaluation) -> Table:
    rows = tuple((escape(name), *_class_cells(scores)) for name, scores in evaluation.classes.items())
    header = ("class", "seconds", "right", "predicted", "precision")
    note = "'right' is the percentage of a class's seconds, 'precision' that of the seconds it is predicted for."
    return Table(f"{evaluation.source}, {evaluation.split} split, by class", header, rows, (note,))


def _class_cells(scores: ClassScores) -> tuple[str, ...]:
    return (
        f"{scores.seconds:,}",
        number_cell(scores.recall),
        f"{scores.predicted:,}",
        number_cell(scores.precision),
    )
