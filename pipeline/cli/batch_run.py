"""Run a task over many videos: load, plan, compute, report progress and failures."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import click

from ...weights.addresses import hide_credentials
from ..errors import OutputError
from ..text import escape, first_few
from .dry_run import print_plan
from .options.batch_options import BatchOptions
from .options.command import exit_1_on_error

if TYPE_CHECKING:
    from ..batch.journal import Journal
    from ..batch.plan import Plan
    from ..batch.run_plan import Executor, RunSummary
    from ..batch.storage import Shard, Storage
    from ..batch.task import RunContext, Task
    from ..batch.work import Result
    from .console import Console
    from .options.inputs import NamedInputs

_MOST_LISTED = 100  # failures that are listed at the end
_REPORT_INTERVAL = 10.0  # seconds between lines where no progress bar can be drawn


def run_batch(task: Task[Any], named: NamedInputs, storage: Storage, options: BatchOptions, console: Console) -> int:
    """Run a task over named files, except for what the journal lists as done.

    Args:
        task: what to compute.
        named: the inputs.
        storage: of the results, locked by the caller, for the shard that the options name.
        options: of the current command.
        console: for progress and notes.

    Returns:
        The exit status: 1 if an input failed, in this run or in an earlier one, else 0.

    Raises:
        SetupError, WeightsError: the run cannot start.
        click.ClickException: the run broke off; exit status 1.
    """
    from ..batch.failures import count_categories
    from ..batch.journal import Journal
    from ..batch.plan import BatchJob, make_plan
    from ..batch.run_plan import run_plan
    from ..batch.run_record import RunRecord, recorded
    from .kept_precision import choose_for_run, keep_precision

    storage.check_lasting()
    if not options.plans_only:
        storage.check_writable()
    count, named = len(named.files) + len(named.unusable), _select(named, options.shard)
    journal = Journal(storage)
    if journal.unreadable:
        console.info(f"{journal.unreadable} unreadable lines of the journal are ignored")
    wanted = task.settings.precision
    with console:
        console.busy("loading networks" if wanted.is_chosen else "choosing backend and precision")
        task, reason = choose_for_run(task, storage, on_cluster=options.engine == "ray")
        if reason:
            console.info(reason)
        console.busy("loading networks")
        loaded = _identify(task, console) if options.engine == "ray" else task.identify(console.download_progress)
    run = task.start(loaded, storage)
    task.check(run, overwrite=options.overwrite)
    job = BatchJob(
        {**named.files, **{name: path for name, (path, _) in named.unusable.items()}},
        storage,
        run.specs,
        task.path_templates(loaded),
        problems={name: reason for name, (_, reason) in named.unusable.items()},
        overwrite=options.overwrite,
        retry_failed=options.retry_failed,
        verify=options.verify,
        hash_inputs=options.hash_inputs,
        fail_fast=options.fail_fast,
        shard=options.shard,
    )
    plan = make_plan(job, journal)
    if plan.strays:
        console.info(f"{first_few(plan.strays)}: listed in the journal, but not results of this command; they stay")
    if options.plans_only:
        print_plan(plan, storage, listed=options.dry_run_list)
        return 1 if plan.failed or plan.unusable else 0
    if plan.remade:
        console.info(f"{plan.remade} of {len(plan.todo)} from kept embeddings, without decoding")
    record = RunRecord(
        command=click.get_current_context().command.name or "",
        log=journal.name,
        inputs=count,
        todo=len(plan.todo),
        remade=plan.remade,
        done=len(plan.done),
        failures=count_categories(planned.category for planned in (*plan.failed, *plan.unusable)),
        shard=str(options.shard or ""),
    )
    run = _compile(task, run, plan, options, console)
    with _make_executor(task, run, plan, options, console) as executor, exit_1_on_error(debug=options.debug):
        try:
            with recorded(storage, record), console, contextlib.closing(journal):
                keep_precision(storage, wanted, task.settings.precision)
                task.prepare(run)
                reporter = ProgressReporter(console, len(plan.todo) + len(plan.unusable), options.json_log)
                summary = run_plan(job, plan, journal, executor, reporter)
        except KeyboardInterrupt:
            console.info("the same command resumes the run")
            raise
        if plan.failed:
            console.info(f"{len(plan.failed)} of an earlier run's failures not tried again; --retry-failed tries them")
        _print_summary(summary)
        if note := _finalize(task, run, journal, options.shard):
            console.info(note)
    return 1 if summary.failures else 0


def _select(named: NamedInputs, shard: Shard | None) -> NamedInputs:
    """Return the inputs of a shard."""
    if shard is None:
        return named
    return replace(
        named,
        files={name: path for name, path in named.files.items() if shard.holds(name)},
        unusable={name: problem for name, problem in named.unusable.items() if shard.holds(name)},
    )


def _finalize(task: Task[Any], run: RunContext[Any], journal: Journal, shard: Shard | None) -> str | None:
    """Write what is made of all videos, unless others are at work on some of them; return a line for the user."""
    if shard is None:
        return task.finalize(run, journal)
    rest = task.describe_finalize()
    return f"when all shards are done, the same command without --shard makes {rest}" if rest else None


def _identify(task: Task[Any], console: Console) -> Any:
    """Load the networks on a machine that only plans; they say of themselves what they are on those that compute."""
    from ..devices import FP32
    from ..precisions import QUANTIZED

    precision = task.settings.precision if task.settings.precision.name in QUANTIZED else FP32
    on_cpu = replace(task, settings=replace(task.settings, device="cpu", precision=precision))
    return task.as_computed(on_cpu.identify(console.download_progress))


def _compile(
    task: Task[Any], run: RunContext[Any], plan: Plan, options: BatchOptions, console: Console
) -> RunContext[Any]:
    """Return the context of a run with what is compiled for many videos, if this machine has any to compute."""
    with console:
        if len(plan.todo) > plan.remade and options.engine == "local":
            console.busy("loading networks")
            run = task.compile(task.complete(run, console.download_progress))
        for note in run.loaded.notes:
            console.info(note)
        for warning in task.warnings(run.loaded) if plan.todo else ():
            console.info(f"! {warning}")
    return run


def _make_executor(
    task: Task[Any], run: RunContext[Any], plan: Plan, options: BatchOptions, console: Console
) -> contextlib.AbstractContextManager[Executor | None]:
    """Make what runs the jobs of a plan, None when nothing is left to do: an engine starts processes and threads."""
    if not plan.todo:
        return contextlib.nullcontext()
    if not plan.remade:
        return _make_engine(task, run, plan, options)

    from ..batch.engine import KeptFirst
    from ..batch.ray_engine import RayEngine

    def make_engine() -> contextlib.AbstractContextManager[Executor]:
        # Where nothing was to be computed, and a kept output is damaged, the networks are loaded now.
        ready = task.complete(run, console.download_progress) if options.engine == "local" else run
        return _make_engine(task, ready, plan, options)

    batch = RayEngine.journal_batch if options.engine == "ray" else 1
    return KeptFirst(partial(task.remake_outputs, run), partial(task.computed, run), make_engine, journal_batch=batch)


def _make_engine(
    task: Task[Any], run: RunContext[Any], plan: Plan, options: BatchOptions
) -> contextlib.AbstractContextManager[Executor]:
    """Make the engine of a run."""
    if options.engine == "local":
        return task.engine(run, videos=len(plan.todo))
    from ..batch.ray_engine import RayEngine

    return RayEngine(
        task,
        run.specs,
        run.storage.address,
        address=options.address,
        actors=options.actors,
        cpus=options.cpus_per_actor,
        gpus=options.gpus_per_actor,
    )


class ProgressReporter:
    """Callback of a batch run: moves a bar, or prints a line every ten seconds; appends to the JSON log.

    Args:
        console: for the bar and the lines.
        total: videos to compute.
        log: gets a JSON line per result; None for no log.
    """

    def __init__(self, console: Console, total: int, log: IO[str] | None) -> None:
        self._console, self._total, self._log = console, total, log
        self._started = self._last_line = time.monotonic()
        self._media_seconds = 0.0
        if console.is_terminal:  # the time left is known when the first file is done, and counts from now
            console.move_bar("working", 0, total, f"0/{total} files")

    def __call__(self, result: Result, summary: RunSummary) -> None:
        if result.outputs is not None:
            self._media_seconds += result.outputs.media["duration"]
        if self._log is not None:
            try:
                click.echo(json.dumps(_log_entry(result, summary)), file=self._log)
            except (OSError, ValueError) as error:  # ValueError: standard output was closed
                reason = getattr(error, "strerror", None) or error
                raise OutputError(f"--json-log: cannot be written: {escape(reason)}") from error
        with contextlib.suppress(OSError):  # a closed terminal must not stop the run
            self._report(result, summary)

    def _report(self, result: Result, summary: RunSummary) -> None:
        console, now, done = self._console, time.monotonic(), self._total - summary.left
        if result.outputs is not None:
            media = result.outputs.media
            if result.outputs.note:
                console.info(f"{escape(result.job.id)}: {result.outputs.note}")
            console.detail(
                f"{escape(result.job.path)}: {media['format']}, frames by {media['decoder']}:"
                f" {media['frames_decoded']} decoded, {media['frames_damaged']} damaged; {result.seconds:.1f} s"
            )
        rate = f"{self._media_seconds / max(now - self._started, 1e-9):.1f}x real time"
        failed = f", {len(summary.failures)} failed" if summary.failures else ""
        if console.is_terminal:
            console.move_bar("working", done, self._total, f"{done}/{self._total} files, {rate}{failed}")
        elif now - self._last_line > _REPORT_INTERVAL:
            self._last_line = now
            remaining = (now - self._started) / done * summary.left
            console.info(f"{done}/{self._total} files, {rate}{failed}, {remaining:.0f} s left")


def _log_entry(result: Result, summary: RunSummary) -> dict[str, Any]:
    outputs = result.outputs
    return {
        "id": result.job.id,
        "path": hide_credentials(str(result.job.path)),
        "status": "failed" if outputs is None else "done",
        "cause": None if result.cause is None else hide_credentials(result.cause),
        "category": result.category or None,
        "warnings": [] if outputs is None else list(outputs.warnings),
        "media_seconds": None if outputs is None else outputs.media["duration"],
        "seconds": round(result.seconds, 3),
        "left": summary.left,
        "failed": len(summary.failures),
    }


def _print_summary(summary: RunSummary) -> None:
    """Print the counts, then failed inputs with their causes: the last lines are the ones that are read."""
    from ..batch.failures import count_categories, describe_categories

    failures = list(summary.failures.values())
    counts = describe_categories(count_categories(failure.category for failure in failures))
    causes = f"; causes: {counts}" if counts else ""
    left = f", {summary.left} not tried" if summary.left else ""
    with contextlib.suppress(OSError):
        click.echo(
            f"{summary.done} done, {summary.skipped} done before, {len(failures)} failed{left}{causes}", err=True
        )
        for failure in failures[:_MOST_LISTED]:
            click.echo(f"Error: {escape(failure.path)}: {escape(failure.cause)}", err=True)
        if len(failures) > _MOST_LISTED:
            click.echo(f"Error: ... and {len(failures) - _MOST_LISTED} more: failures.csv lists all", err=True)
