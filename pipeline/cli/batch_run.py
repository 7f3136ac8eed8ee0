"""What commands share that work on many files: their options, and the run itself."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ..text import escape
from .options import exit_1_on_error

if TYPE_CHECKING:
    from ..batch.plan import BatchJob, Plan, RunSummary
    from ..batch.storage import Storage
    from ..batch.task import Task
    from ..batch.work import Result, VideoJob
    from .console import Console

_SPEAK_EVERY = 10.0  # seconds, where there is no terminal to draw a bar on


def run_batch(
    task: Task[Any], named: Mapping[str, Path], storage: Storage, options: Mapping[str, Any], console: Console
) -> int:
    """Load, plan, run, tell; returns the exit status. Raises what the person can mend before anything is done."""
    from ..batch.journal import Journal
    from ..batch.plan import BatchJob, make_plan, run_plan

    journal = Journal(storage)
    if journal.unreadable:
        console.say(f"{journal.unreadable} lines of the journal cannot be read and are left out of account")
    on_ray = options["engine"] == "ray"
    with console:
        loaded = (_on_cpu(task) if on_ray else task).load(console.download)
    products = task.products(loaded)
    task.check(loaded, storage, overwrite=options["overwrite"])
    kept = ("overwrite", "retry_failed", "verify", "hash_inputs", "fail_fast")
    job = BatchJob(named, storage, products, **{name: options[name] for name in kept})
    plan = make_plan(job, journal)
    if options["dry_run"]:
        _show_plan(plan)
        return 1 if plan.failed else 0
    teller, runner = ProgressReporter(console, len(plan.todo), options["json_log"]), _Idle()
    if plan.todo:
        runner = _ray(task, job, options) if on_ray else task.engine(loaded, products, storage, videos=len(plan.todo))
    with runner, exit_1_on_error(debug=options["debug"]):
        with console, contextlib.closing(journal):
            task.prepare(loaded, storage)
            outcome = run_plan(job, plan, journal, runner, teller)
        _summarize(outcome)
        if note := task.finalize(loaded, products, storage, journal):
            console.say(note)
    return 1 if outcome.failures else 0


class _Idle(contextlib.AbstractContextManager["_Idle"]):
    """Runs nothing."""

    at_once = 1

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, works: Iterable[VideoJob]) -> Iterator[Result]:
        """Nothing was asked for."""
        assert not list(works)
        return iter(())


def _on_cpu(task: Task[Any]) -> Task[Any]:
    """For the machine that only plans: the networks are loaded to know what they are."""
    from ..devices import FP32

    return replace(task, settings=replace(task.settings, device="cpu", precision=FP32))


def _ray(task: Task[Any], job: BatchJob, options: Mapping[str, Any]) -> Any:
    from ..batch.ray_engine import RayEngine

    return RayEngine(
        task,
        job.products,
        job.storage.where,
        address=options["address"],
        actors=options["actors"],
        cpus=options["cpus_per_actor"],
        gpus=options["gpus_per_actor"],
    )


class ProgressReporter:
    """Shows how a run goes: a bar, or a line now and then; for programs, a JSON line for each file."""

    def __init__(self, console: Console, total: int, log: IO[str] | None) -> None:
        self._messages, self._total, self._log = console, total, log
        self._started = self._spoken = time.monotonic()
        self._seconds = 0.0  # of media

    def __call__(self, result: Result, outcome: RunSummary) -> None:
        if result.made is not None:
            self._seconds += result.made.media["duration"]
        if self._log is not None:
            click.echo(json.dumps(self._describe(result, outcome)), file=self._log)
        with contextlib.suppress(OSError):  # a terminal that is gone must not cost the person the other files
            self._show(result, outcome)

    def _show(self, result: Result, outcome: RunSummary) -> None:
        console, now, done = self._messages, time.monotonic(), self._total - outcome.left
        if result.made is not None and result.made.note:
            console.say(f"{result.work.id}: {result.made.note}")
        if result.made is not None:
            media = result.made.media
            console.note(
                f"{result.work.path}: {media['format']}, frames by {media['decoder']}:"
                f" {media['frames_decoded']} decoded, {media['frames_damaged']} damaged; {result.seconds:.1f} s"
            )
        rate = f"{self._seconds / (now - self._started):.1f}x real time"
        failed = f", {len(outcome.failures)} failed" if outcome.failures else ""
        if console.console.is_terminal:
            console.show("working", done, self._total, f"{done}/{self._total} files, {rate}{failed}")
        elif now - self._spoken > _SPEAK_EVERY:
            self._spoken = now
            left = (now - self._started) / done * outcome.left
            console.say(f"{done}/{self._total} files, {rate}{failed}, {left:.0f} s left")

    def _describe(self, result: Result, outcome: RunSummary) -> dict[str, Any]:
        made = result.made
        return {
            "id": result.work.id,
            "path": str(result.work.path),
            "status": "failed" if made is None else "done",
            "cause": result.cause,
            "warnings": [] if made is None else list(made.warnings),
            "media_seconds": None if made is None else made.media["duration"],
            "seconds": round(result.seconds, 3),
            "left": outcome.left,
            "failed": len(outcome.failures),
        }


def _show_plan(plan: Plan) -> None:
    for decision in plan.todo:
        products = ", ".join(decision.products)
        click.echo(f"compute  {escape(decision.id)}  {products}  ({decision.reason})")
    for decision in plan.failed:
        click.echo(f"failed   {escape(decision.id)}  {decision.reason} (--retry-failed tries again)")
    click.echo(f"{len(plan.todo)} to compute, {len(plan.done)} done before, {len(plan.failed)} failed before", err=True)


def _summarize(outcome: RunSummary) -> None:
    """Name every failed input with its cause, at the end, where it is read."""
    left = f", {outcome.left} not tried" if outcome.left else ""
    with contextlib.suppress(OSError):
        click.echo(
            f"{outcome.done} done, {outcome.skipped} done before, {len(outcome.failures)} failed{left}", err=True
        )
        for path, cause in outcome.failures.values():
            click.echo(f"Error: {escape(path)}: {cause}", err=True)
