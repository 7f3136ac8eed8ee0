"""Print what a batch run would do: counts, sizes and a duration first, the inputs on request."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from ...weights.messages import file_size
from ..text import escape
from .durations import describe_duration

MOST_NAMED = 20  # inputs that cannot be used, without a list of all

if TYPE_CHECKING:
    from ..batch.plan import Plan, PlannedVideo
    from ..batch.storage import Storage


def print_plan(plan: Plan, storage: Storage, *, listed: bool) -> None:
    """Print a plan; inputs that cannot be used are named on standard error.

    Args:
        plan: of a run.
        storage: of the run; the rate of its last run gives the duration.
        listed: also print a line for each input that is not done, on standard output; then the summary goes to standard
            error.
    """
    for line in _summarize(plan, storage):
        click.echo(line, err=listed)
    if listed:
        for line in _list_inputs(plan):
            click.echo(line)
        return
    for planned in plan.unusable[:MOST_NAMED]:
        click.echo(f"cannot be used: {escape(planned.path)}: {escape(planned.reason)}", err=True)
    if (more := len(plan.unusable) - MOST_NAMED) > 0:
        click.echo(f"and {more} more, which --dry-run-list names", err=True)


def _summarize(plan: Plan, storage: Storage) -> Iterator[str]:
    from ..batch.failures import count_categories, describe_categories
    from ..batch.monitor.read_status import StatusReader

    unusable = f", {len(plan.unusable)} cannot be used" if plan.unusable else ""
    compute = [planned for planned in plan.todo if not planned.source]
    remade = f", {plan.remade} to make again from kept embeddings" if plan.remade else ""
    counts = f"{len(plan.done)} done before, {len(plan.failed)} failed before{unusable}"
    yield f"{len(compute)} to compute{remade}, {counts}"
    size = sum(_sizes(compute))
    if compute:
        reasons = Counter(planned.reason for planned in compute)
        yield f"  to compute: {describe_categories(count_categories(reasons.elements()))}; {file_size(size)}"
    for name, inputs, hint in (
        ("failed before", plan.failed, " (--retry-failed tries again)"),
        ("cannot be used", plan.unusable, ""),
    ):
        if inputs:
            counts = count_categories(planned.category for planned in inputs)
            yield f"  {name}: {describe_categories(counts)}{hint}"
    speed = StatusReader(storage).bytes_per_second()
    if compute and speed:
        rate = f"at the rate of the last run, {file_size(round(speed))} per second"
        yield f"  about {describe_duration(size / speed)}, {rate}"


def _list_inputs(plan: Plan) -> Iterator[str]:
    for planned in plan.todo:
        what = "remake " if planned.source else "compute"
        yield f"{what}  {escape(planned.id)}  {', '.join(planned.output_names)}  ({planned.reason})"
    for planned in plan.failed:
        yield f"failed   {escape(planned.id)}  {escape(planned.reason)} (--retry-failed tries again)"
    for planned in plan.unusable:
        yield f"fails    {escape(planned.id)}  {escape(planned.path)}: {escape(planned.reason)}"


def _sizes(inputs: Iterable[PlannedVideo]) -> Iterator[int]:
    for planned in inputs:
        with contextlib.suppress(OSError):
            yield planned.path.stat().st_size
