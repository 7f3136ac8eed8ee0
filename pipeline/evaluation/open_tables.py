"""Format rankings, detections and OV-AVEL's scores as tables."""

from __future__ import annotations

from collections.abc import Mapping

from ..text import escape
from ..timeline import MODALITY_WORDS
from .detection import IOU_THRESHOLDS, DetectionEvaluation
from .ov_avel import OvAvelEvaluation
from .ranking import ClassRanking, RankingEvaluation
from .tables import Table, number_cell

_RANKING = ("seconds", "AP", "AUROC")
_WORDS: Mapping[str, str] = {**MODALITY_WORDS}


def ranking_tables(evaluation: RankingEvaluation, *, per_class: bool) -> list[Table]:
    """Make a table of the means of each modality, and one of all classes.

    Args:
        evaluation: of one system on one split.
        per_class: whether to make the second.

    Returns:
        One or two tables.
    """
    title = f"{evaluation.source}, {evaluation.split} split"
    means = {modality: evaluation.mean(modality) for modality in evaluation.classes}
    counts = {
        modality: sum(bool(ranking.seconds) for ranking in rankings.values())
        for modality, rankings in evaluation.classes.items()
    }
    rows = tuple((_WORDS[modality], str(counts[modality]), *_ranking_cells(mean)) for modality, mean in means.items())
    notes = (
        f"{evaluation.clips} clips, {evaluation.seconds:,} s. In percent, the means of the classes that occur: AP, the"
        " area under precision over recall; AUROC, under true over false positive rate. No threshold has a part.",
        *evaluation.notes,
    )
    tables = [Table(f"{title}: ranking of the seconds", (evaluation.split, "classes", *_RANKING), rows, notes)]
    if per_class:
        header = (
            "class",
            *(f"{_WORDS[modality]} {name}" for modality in evaluation.classes for name in _RANKING),
        )
        labels = next(iter(evaluation.classes.values()))
        by_class = tuple(
            (
                escape(label),
                *(cell for rankings in evaluation.classes.values() for cell in _ranking_cells(rankings[label])),
            )
            for label in labels
        )
        tables.append(Table(f"{title}, by class", header, by_class))
    return tables


def _ranking_cells(ranking: ClassRanking) -> tuple[str, ...]:
    return str(ranking.seconds), number_cell(ranking.average_precision), number_cell(ranking.auroc)


def detection_tables(evaluation: DetectionEvaluation, *, per_class: bool) -> list[Table]:
    """Make a table of mean average precisions, and for each modality one of all classes.

    Args:
        evaluation: of one system on one split.
        per_class: whether to make the others.

    Returns:
        The tables.
    """
    title = f"{evaluation.source}, {evaluation.split} split"
    levels = (*(f"{level:.1f}" for level in IOU_THRESHOLDS), "average")
    rows = []
    for modality in evaluation.precisions:
        mean = evaluation.mean(modality)
        rows.append((_WORDS[modality], *map(number_cell, mean), number_cell(float(mean.mean()))))
    notes = (
        f"{evaluation.clips} clips. Mean average precision in percent at temporal intersections over union; events are"
        " ranked by their scores.",
        *evaluation.notes,
    )
    tables = [Table(f"{title}: events as detections", (evaluation.split, *levels), tuple(rows), notes)]
    for modality, classes in evaluation.precisions.items() if per_class else ():
        by_class = tuple(
            (escape(label), *map(number_cell, row), number_cell(float(row.mean()))) for label, row in classes.items()
        )
        tables.append(Table(f"{title}, {_WORDS[modality]}, by class", ("class", *levels), by_class))
    return tables


def ov_avel_tables(evaluation: OvAvelEvaluation) -> list[Table]:
    """Make a table of the clips with seen and with unseen classes, and of all.

    Args:
        evaluation: of one system on one split.

    Returns:
        One table.
    """
    rows = []
    for name, (clips, scores) in evaluation.parts.items():
        values = ("-",) * 4 if scores is None else tuple(map(number_cell, (*scores, scores.average)))
        rows.append((f"{name} ({clips})", *values))
    notes = (
        "Percent, one class a second that is heard and seen, or none. Acc: right seconds; Seg, Eve: F over the classes"
        " of each clip, of seconds and of runs. Seen: classes that training clips have.",
        *evaluation.notes,
    )
    title = f"{evaluation.source}, {evaluation.split} split: OV-AVEL's measures"
    return [Table(title, (evaluation.split, "Acc", "Seg", "Eve", "average"), tuple(rows), notes)]
