"""Command avvp status: progress of batch runs, from their folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ..durations import describe_duration
from ..options.command import FiniteRange, argument, command, exit_2_on_error, option
from ..options.groups import DebugOptions

if TYPE_CHECKING:
    from ...batch.monitor.read_status import Rate, RunStatus

_INTERVAL = 5.0  # seconds between two readings
_MOST_SHARDS = 20  # shards that are listed
_PLAIN_STATES = {"running", "finished"}  # of shards that need no line of their own


class WatchType(FiniteRange):
    """Seconds between two readings."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert a number; a folder in its place gets a hint."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a number of seconds; put the folder before --watch", param, ctx)


@dataclass(frozen=True, kw_only=True)
class StatusOptions(DebugOptions):
    """Options of avvp status."""

    output: str = field(metadata=argument(metavar="OUTPUT"))
    watch: float | None = field(
        metadata=option(
            "--watch",
            type=WatchType(0.1, 86_400),
            is_flag=False,
            flag_value=str(_INTERVAL),
            metavar="[SECONDS]",
            help=f"Read again every {_INTERVAL:g} seconds, or as often as you say, until no run goes on.",
        )
    )
    as_json: bool = field(
        metadata=option("--json", is_flag=True, help="Print JSON; with --watch, a line for each reading.")
    )


@command(
    StatusOptions,
    examples=(
        "avvp status feats/",
        "avvp status feats/ --watch",
        "avvp status s3://bucket/feats --json | jq .left",
    ),
    notes="Exit status: 0 no input has failed; 1 inputs have failed; 2 wrong usage, or no batch run has worked there.",
)
def status(options: StatusOptions) -> int:
    """Show what batch runs over a folder have done, what failed and what is left.

    OUTPUT is the folder or address that a run of avvp extract, parse or pseudo-label writes to. The run may go on
    meanwhile, here or on other machines: only its journal is read, and it is not locked.
    """
    with exit_2_on_error(debug=options.debug):
        from ...batch.monitor.read_status import StatusReader
        from ...batch.open_storage import open_existing_storage

        reader = StatusReader(open_existing_storage(options.output))
        read = reader.read()
        if options.watch is None:
            _print(read, as_json=options.as_json)
        else:
            read = _watch(reader.read, read, options.watch, as_json=options.as_json)
    return 1 if read.failed else 0


def _print(read: RunStatus, *, as_json: bool) -> None:
    click.echo(json.dumps(read.to_dict(), indent=1) if as_json else "\n".join(describe_status(read)))


def _watch(update: Any, read: RunStatus, interval: float, *, as_json: bool) -> RunStatus:
    """Show the status until no run goes on; return the last."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    if as_json or not console.is_terminal:
        click.echo(json.dumps(read.to_dict()) if as_json else _one_line(read))
        while read.is_running:
            time.sleep(interval)
            read = update()
            click.echo(json.dumps(read.to_dict()) if as_json else _one_line(read))
        return read
    with Live(Text("\n".join(describe_status(read))), console=console, auto_refresh=False) as live:
        while read.is_running:
            time.sleep(interval)
            read = update()
            live.update(Text("\n".join(describe_status(read))), refresh=True)
    return read


def describe_status(read: RunStatus) -> Iterator[str]:
    """Yield the lines that describe a status."""
    from ...batch.failures import describe_categories
    from ...text import escape

    if read.inputs is None:
        yield f"{escape(read.where)}: runs of a version of avvp that did not record how many inputs there are"
    else:
        share = f", {100 * (read.done + read.failed) / read.inputs:.1f}% with a result" if read.inputs else ""
        yield f"{escape(read.where)}: {escape(read.command)}, {read.inputs:,} inputs{share}"
    yield f"  done         {read.done:,}"
    causes = f": {describe_categories(read.failures)}" if read.failures else ""
    yield f"  failed       {read.failed:,}{causes}"
    if read.remade:
        yield f"  remade       {read.remade:,} of the last run, from kept embeddings, without decoding"
    if read.left is not None:
        yield f"  left         {read.left:,}" + (f", {read.in_progress:,} in progress" if read.in_progress else "")
    if read.recent is not None:
        yield f"  rate         {_rate(read.recent)} in the last minutes; {_rate(read.overall)} overall"
    elif read.overall.files:
        yield f"  rate         {_rate(read.overall)} in the last run"
    if read.recent is not None:
        yield f"  time left    {_time_left(read)}"
    yield from _describe_runs(read)
    if read.unreadable:
        yield f"  {read.unreadable:,} unreadable lines of the journal are ignored"


def _describe_runs(read: RunStatus) -> Iterator[str]:
    """Yield a line that counts the runs by state, and one for each that nobody waits for any more."""
    from ...text import escape

    if read.shards and not read.shards[0].shard:
        run = read.shards[0]
        idle = f"; its last line is {describe_duration(run.idle)} old" if run.state in {"running", "silent"} else ""
        yield f"  run          {run.state} on {escape(run.machine)}{idle}"
    elif read.shards:
        states: dict[str, int] = {}
        for run in read.shards:
            states[run.state] = states.get(run.state, 0) + 1
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        yield f"  shards       {counts}" + (f", {len(read.missing)} not started" if read.missing else "")
        others = [run for run in read.shards if run.state not in _PLAIN_STATES]
        for run in others[:_MOST_SHARDS]:
            yield f"    {run.shard:<10} {run.state} on {escape(run.machine)}, {run.left:,} left"
        if len(others) > _MOST_SHARDS:
            yield f"    ... and {len(others) - _MOST_SHARDS} more"
        if read.missing:
            names = ", ".join(read.missing[:_MOST_SHARDS]) + (", ..." if len(read.missing) > _MOST_SHARDS else "")
            yield f"    not started: {names}"


def _one_line(read: RunStatus) -> str:
    known = "" if read.inputs is None else f"/{read.inputs}"
    rate = "" if read.recent is None else f", {_rate(read.recent)}, {_time_left(read)} left"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {read.done}{known} done, {read.failed} failed{rate}"


def _rate(rate: Rate) -> str:
    files = f"{rate.files:.1f} files/s" if rate.files >= 1 else f"{60 * rate.files:.1f} files/min"
    return f"{files} ({rate.media:.1f}x real time)"


def _time_left(read: RunStatus) -> str:
    return "unknown" if read.seconds_left is None else describe_duration(read.seconds_left)
