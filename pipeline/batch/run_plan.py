"""Run a plan: start jobs, journal every start and result, list the failures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Protocol

from ...extractors.sampling import ALL_STREAMS, Stream
from ...weights.addresses import hide_credentials
from ..errors import OutputError
from .failures import UNKNOWN, Failure, write_failures
from .journal import InputFingerprint, Journal, JournalEntry
from .plan import BatchJob, Plan, PlannedVideo
from .storage import Storage, is_name
from .work import Result, VideoJob


class Executor(Protocol):
    """Runs jobs: `engine.Engine` on this machine, `ray_engine.RayEngine` on a cluster."""

    journal_batch: int  # jobs that are best journalled together

    def run(self, jobs: Iterable[VideoJob]) -> Iterator[Result]:
        """Yield one result per job, in any order."""
        ...


@dataclass
class RunSummary:
    """Counts of a run.

    Attributes:
        done: computed by this run.
        skipped: done by an earlier run.
        left: not tried, because the run was interrupted.
        failures: id -> failure, those of earlier runs included.
    """

    done: int = 0
    skipped: int = 0
    left: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)


def run_plan(
    job: BatchJob,
    plan: Plan,
    journal: Journal,
    executor: Executor | None,
    on_result: Callable[[Result, RunSummary], None] = lambda *_: None,
) -> RunSummary:
    """Compute what a plan asks for.

    Args:
        job: what the plan was made for.
        plan: of `make_plan`. Unusable inputs fail first; results that they have from earlier runs are kept.
        journal: of the job's storage; it holds each result before `on_result` is called.
        executor: runs the jobs; None is enough for a plan with nothing to do.
        on_result: called after each result, with the counts so far.

    Returns:
        Counts and failures.

    Raises:
        AVVPError: what ends the whole run, such as a full disk or lost hardware.
        ValueError: the plan has something to do, and there is no executor.
    """
    if executor is None and plan.todo:
        raise ValueError(f"{len(plan.todo)} jobs need an executor")
    summary = RunSummary(skipped=len(plan.done), left=len(plan.todo) + len(plan.unusable))
    summary.failures = {planned.id: _failure(planned) for planned in plan.failed}
    inputs: dict[str, InputFingerprint] = {}
    paths = (path for planned in plan.todo for path in job.paths(planned.id).values())
    job.storage.clear({str(PurePosixPath(path).parent) for path in paths})

    def results() -> Iterator[Result]:
        if plan.moved:
            journal.append(*plan.moved)
        _journal_unusable(job, plan.unusable[: 1 if job.fail_fast else None], journal)
        for planned in plan.unusable:
            failed_job = VideoJob(planned.id, planned.path, ())
            yield Result(failed_job, 0.0, cause=planned.reason, category=planned.category)
        if executor is not None and plan.todo:
            journal_batch = max(executor.journal_batch, job.storage.journal_batch)
            for result in executor.run(_start_jobs(job, plan, journal, inputs, journal_batch)):
                entry = _result_entry(job, result, inputs.pop(result.job.id), journal.entries[result.job.id])
                journal.append(entry)
                yield result

    listed = None if job.shard is None else job.inputs
    try:
        for result in results():
            summary.left -= 1
            if result.cause is None:
                summary.done += 1
            else:
                summary.failures[result.job.id] = Failure(result.job.path, result.cause, result.category or UNKNOWN)
            on_result(result, summary)
            if result.cause is not None and job.fail_fast:
                break
    except BaseException:
        with contextlib.suppress(OutputError):  # what ended the run says more
            write_failures(job.storage, summary.failures, listed)
        raise
    write_failures(job.storage, summary.failures, listed)
    return summary


def _failure(planned: PlannedVideo) -> Failure:
    return Failure(planned.path, planned.reason, planned.category)


def _journal_unusable(job: BatchJob, unusable: Iterable[PlannedVideo], journal: Journal) -> None:
    """Journal the failures of unusable inputs. Entries of results and of killed runs stay: the inputs may come back."""
    parameters = {name: spec.parameters for name, spec in job.specs.items()}
    failures: list[JournalEntry] = []
    for planned in unusable:
        entry = journal.entries.get(planned.id)
        if not is_name(planned.id):  # a list may name anything; nothing can be written under such an id
            continue
        if entry is None or (entry.status == "failed" and entry.cause != planned.reason):
            fingerprint = _fingerprint(job, planned)
            failed = JournalEntry(planned.id, "failed", fingerprint, parameters)
            failures.append(replace(failed, cause=planned.reason, category=planned.category))
    if failures:
        journal.append(*failures)


def _start_jobs(
    job: BatchJob, plan: Plan, journal: Journal, inputs: dict[str, InputFingerprint], journal_batch: int
) -> Iterator[VideoJob]:
    """Yield jobs after journalling their start: files that a killed run leaves behind are then known as its own."""
    waiting = iter(plan.todo)
    while batch := list(islice(waiting, journal_batch)):
        entries = []
        for planned in batch:
            inputs[planned.id] = _fingerprint(job, planned)
            entries.append(_start_entry(job, planned, inputs[planned.id], journal.entries.get(planned.id)))
        journal.append(*entries)
        for planned in batch:
            if planned.source:
                yield VideoJob(
                    planned.id, planned.path, (), planned.output_names, job.specs[planned.source].path(planned.id)
                )
                continue
            needed = {stream for output in planned.output_names for stream in job.specs[output].streams}
            streams: tuple[Stream, ...] = tuple(stream for stream in ALL_STREAMS if stream in needed)
            yield VideoJob(planned.id, planned.path, streams, planned.output_names)


def _fingerprint(job: BatchJob, planned: PlannedVideo) -> InputFingerprint:
    try:
        return InputFingerprint.of(planned.path, content=job.hash_inputs)
    except (OSError, RuntimeError, ValueError):  # a list may name addresses, which lead to no file
        return InputFingerprint(hide_credentials(str(planned.path.absolute())).replace("\0", ""), -1, -1)


def _start_entry(
    job: BatchJob, planned: PlannedVideo, fingerprint: InputFingerprint, earlier: JournalEntry | None
) -> JournalEntry:
    """Return the entry of a start; remove outputs of an earlier state of the input."""
    others = {}
    if earlier is not None:
        others = {name: file for name, file in job.own_outputs(earlier).items() if name not in planned.output_names}
    kept, parameters = {}, {}
    if earlier is not None and fingerprint.same(earlier.input):
        kept = {name: file for name, file in others.items() if name in earlier.parameters}
        parameters = {name: earlier.parameters[name] for name in kept}
    _remove(job.storage, [file.path for name, file in others.items() if name not in kept])
    return JournalEntry(planned.id, "started", fingerprint, parameters, kept)


def _result_entry(job: BatchJob, result: Result, fingerprint: InputFingerprint, started: JournalEntry) -> JournalEntry:
    """Return the entry of a result; remove all outputs of an input that failed."""
    parameters = {name: job.specs[name].parameters for name in result.job.output_names}
    common = {"id": result.job.id, "input": fingerprint, "seconds": round(result.seconds, 3)}
    if result.outputs is None:
        kept = [file.path for file in started.outputs.values()]
        _remove(job.storage, [*job.paths(result.job.id).values(), *kept])
        causes = {"cause": result.cause or "", "category": result.category}
        return JournalEntry(status="failed", parameters=parameters, **causes, **common)
    return JournalEntry(
        status="done",
        parameters={**started.parameters, **parameters},
        outputs={**started.outputs, **result.outputs.files},
        warnings=result.outputs.warnings,
        media=result.outputs.media,
        **common,
    )


def _remove(storage: Storage, paths: Iterable[str]) -> None:
    for path in paths:
        storage.remove(path)
