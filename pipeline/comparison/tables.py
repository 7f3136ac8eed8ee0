"""Comparisons as tables: terminal and Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from ..evaluation.tables import SCORE_HEADER, Table
from ..text import escape
from .compare import Comparison, Score

_NO_VALUE = "-"
_FEW_VIDEOS = 30
_COLUMNS = (
    "group", "kind", "clips", "system", "compared_with", "score", "value", "low", "high", "better",
)  # fmt: skip
_LATEX_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def score_names(comparison: Comparison) -> tuple[str, ...]:
    """Return short names of the scores: "seg A", ..., "ev Event", "mean" of parsers; as they are of localizers."""
    return SCORE_HEADER if comparison.protocol.task == "avvp" else comparison.protocol.scores


def comparison_tables(comparison: Comparison, class_score: str) -> list[Table]:
    """Make tables for reading.

    Args:
        comparison: of `compare`.
        class_score: score of the table of classes, if there are classes.

    Returns:
        A table with a row for each score for all clips, for those with overlapping events and for the others; then
        one with a row for each class.
    """
    whole = [index for index, group in enumerate(comparison.groups) if not group.is_class]
    classes = [index for index, group in enumerate(comparison.groups) if group.is_class]
    tables = [_group_table(comparison, index, notes=index == 0) for index in whole]
    return [*tables, *([_class_table(comparison, classes, class_score)] if classes else [])]


def describe_resampling(comparison: Comparison) -> str:
    """Say what the intervals are."""
    resampling = comparison.resampling
    few = " Intervals of so few videos are too narrow." if comparison.videos < _FEW_VIDEOS else ""
    return (
        f"In brackets: {resampling.confidence:g} % bootstrap intervals, {resampling.resamples:,} resamples of"
        f" {comparison.videos:,} videos (seed {resampling.seed}).{few}"
    )


def _group_table(comparison: Comparison, group: int, *, notes: bool) -> Table:
    described = comparison.groups[group]
    rows = [
        (name, *_cells(comparison, group, score))
        for name, score in zip(score_names(comparison), comparison.protocol.scores, strict=True)
    ]
    title = f"{comparison.split} split, {described.name} ({described.clips:,})"
    lines = (_describe_scores(comparison), describe_resampling(comparison), *_difference_note(comparison))
    return Table(title, ("score", *_header(comparison)), tuple(rows), (*lines, *comparison.notes) if notes else ())


def _class_table(comparison: Comparison, groups: list[int], score: str) -> Table:
    rows = [
        (
            escape(comparison.groups[group].name),
            f"{comparison.groups[group].clips:,}",
            *_cells(comparison, group, score),
        )
        for group in groups
    ]
    short = dict(zip(comparison.protocol.scores, score_names(comparison), strict=True))[score]
    title = f"{comparison.split} split, by class: {short}"
    notes = (
        "'clips' are those annotated with the class. Each interval stands alone: among many classes, some exclude 0 by"
        " chance.",
    )
    return Table(title, ("class", "clips", *_header(comparison)), tuple(rows), notes)


def _describe_scores(comparison: Comparison) -> str:
    if comparison.protocol.task == "avvp":
        return "F-scores in percent, of the segment and the event level."
    return "Percent of seconds whose class is right: of all seconds, of those with an event, of those without one."


def _difference_note(comparison: Comparison) -> tuple[str, ...]:
    if len(comparison.names) == 1:
        return ()
    return (
        f"Differences are to {comparison.names[0]}, from the same resamples (paired); * marks those whose interval"
        " excludes 0.",
    )


def _header(comparison: Comparison) -> tuple[str, ...]:
    return (*comparison.names, *(f"{name} - {comparison.names[0]}" for name in comparison.names[1:]))


def _cells(comparison: Comparison, group: int, score: str) -> tuple[str, ...]:
    systems = range(len(comparison.names))
    values = [_score_cell(comparison.score(system, group, score)) for system in systems]
    return (*values, *(_difference_cell(comparison.difference(system, group, score)) for system in systems[1:]))


def _score_cell(score: Score) -> str:
    if math.isnan(score.value):
        return _NO_VALUE
    return f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]"


def _difference_cell(score: Score) -> str:
    if math.isnan(score.value):
        return _NO_VALUE
    return f"{score.value:+.1f} [{score.low:+.1f}, {score.high:+.1f}]{'*' if score.excludes_zero else ''}"


def comparison_csv(comparison: Comparison) -> str:
    """Write a line for each score and each difference, with all decimals.

    Args:
        comparison: of `compare`.

    Returns:
        CSV with a header; cells are empty where a score does not exist. `compared_with` is the system that a difference
        is to, empty for scores; `better` the share of resamples in which the later system is better.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_csv_rows(comparison))
    return text.getvalue()


def _csv_rows(comparison: Comparison) -> Iterator[list[object]]:
    first = comparison.names[0]
    for index, group in enumerate(comparison.groups):
        start = [group.name, "class" if group.is_class else "clips", group.clips]
        for system, name in enumerate(comparison.names):
            for score in comparison.protocol.scores:
                yield [*start, name, "", score, *map(_number, comparison.score(system, index, score)), ""]
        for system, name in enumerate(comparison.names[1:], 1):
            for score in comparison.protocol.scores:
                numbers = (*comparison.difference(system, index, score), comparison.better(system, index, score))
                yield [*start, name, first, score, *map(_number, numbers)]


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def comparison_latex(comparison: Comparison) -> str:
    """Write the scores of all clips as a table of a publication, and those of overlapping and other clips below.

    Args:
        comparison: of `compare`.

    Returns:
        LaTeX that needs the package booktabs: a row for each system, and one for each difference, with intervals in
        small print. The best system of a column is bold.
    """
    names = score_names(comparison)
    parsing = comparison.protocol.task == "avvp"
    lines = [f"% {_describe_scores(comparison)} {describe_resampling(comparison)} Needs \\usepackage{{booktabs}}."]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(names)}}}", r"\toprule"]
    if parsing:
        lines.append(r" & \multicolumn{5}{c}{Segment level} & \multicolumn{5}{c}{Event level} & \\")
        lines.append(r"\cmidrule(lr){2-6} \cmidrule(lr){7-11}")
        names = tuple(name.split()[-1] for name in names)
    lines.append(_latex_row(("", *names)))
    for index, group in enumerate(comparison.groups):
        if not group.is_class:
            lines += _latex_group(comparison, index)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_group(comparison: Comparison, group: int) -> Iterator[str]:
    scores, described = comparison.protocol.scores, comparison.groups[group]
    yield r"\midrule"
    title = _latex_text(f"{described.name} ({described.clips:,})")
    yield rf"\multicolumn{{{len(scores) + 1}}}{{l}}{{\textit{{{title}}}}} \\"
    table = [[comparison.score(system, group, score) for score in scores] for system in range(len(comparison.names))]
    best = [max((row[column].value for row in table), default=math.nan) for column in range(len(scores))]
    several = len(table) > 1
    for name, row in zip(comparison.names, table, strict=True):
        cells = [
            rf"\textbf{{{cell.value:.1f}}}" if several and cell.value == top else _plain(cell.value, ".1f")
            for cell, top in zip(row, best, strict=True)
        ]
        yield _latex_row((_latex_text(name), *cells))
        yield _latex_row(("", *(_small(cell, ".1f") for cell in row)))
    for system, name in enumerate(comparison.names[1:], 1):
        row = [comparison.difference(system, group, score) for score in scores]
        yield _latex_row(
            (_latex_text(f"{name} - {comparison.names[0]}"), *(f"${_plain(cell.value, '+.1f')}$" for cell in row))
        )
        yield _latex_row(("", *(_small(cell, "+.1f") for cell in row)))


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(cells) + r" \\"


def _plain(value: float, form: str) -> str:
    return _NO_VALUE if math.isnan(value) else format(value, form)


def _small(score: Score, form: str) -> str:
    if math.isnan(score.value):
        return ""
    return rf"{{\scriptsize $[{format(score.low, form)}, {format(score.high, form)}]$}}"


def _latex_text(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)
