"""Batch runs: what is to be made of many videos, what is made already, and making the rest.

A run makes of every input one file or several, its products, in a storage that also holds

journal/       what was made of which input, see `journal`
failures.csv   the inputs that failed and why, while there are any
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from ...extractors.sampling import STREAMS, Stream
from ..errors import SetupError
from ..files import FAILURES_FILE
from ..text import escape
from .journal import InputFingerprint, Journal, JournalEntry
from .storage import Storage
from .work import Result, VideoJob


@dataclass(frozen=True)
class OutputSpec:
    """A file that is made of each input."""

    target: str  # its name in the storage, with {id} in it
    parameters: str  # hash of everything that decides its content
    streams: tuple[Stream, ...]  # whose features it is made of

    def place(self, name: str) -> str:
        """Its name for an input."""
        return self.target.replace("{id}", name)


@dataclass(frozen=True)
class BatchJob:
    """What to make and where. `inputs`: id -> file; an id may hold slashes. `products`: by name."""

    inputs: Mapping[str, Path]
    storage: Storage
    products: Mapping[str, OutputSpec]
    overwrite: bool = False
    retry_failed: bool = False
    verify: bool = False
    hash_inputs: bool = False
    fail_fast: bool = False


class Executor(Protocol):
    """What does the work: `engine.Engine` on this machine, `ray_engine.RayEngine` on many."""

    at_once: int  # works that it wants to hear of together

    def run(self, works: Iterable[VideoJob]) -> Iterator[Result]:
        """A result for each work, in any order."""
        ...


class PlannedVideo(NamedTuple):
    """What is to be made of an input, and why; or nothing."""

    id: str
    path: Path
    products: tuple[str, ...]
    reason: str  # of computing; for an input that failed before, its cause


@dataclass
class Plan:
    """Every input is in one of the three."""

    todo: list[PlannedVideo] = field(default_factory=list)
    done: list[PlannedVideo] = field(default_factory=list)
    failed: list[PlannedVideo] = field(default_factory=list)  # earlier, and not to be tried again


@dataclass
class RunSummary:
    """What became of a job. `failures` maps each id to its input and cause, those of earlier runs included."""

    done: int = 0
    skipped: int = 0
    left: int = 0  # not tried: the run was broken off
    failures: dict[str, tuple[Path, str]] = field(default_factory=dict)


def make_plan(job: BatchJob, journal: Journal) -> Plan:
    """Compare inputs, parameters and outputs with the journal. Raises SetupError where this run would overwrite
    files that no run has made, or what was made of another input of the same id that is still there."""
    plan, foreign, others = Plan(), [], []
    with job.storage.cached_listing():
        if not journal.records and not job.overwrite and job.storage.exists(FAILURES_FILE):
            foreign.append(FAILURES_FILE)
        for name, path in job.inputs.items():
            record = journal.records.get(name)
            same = record is not None and not job.overwrite and _same_input(job, path, record)
            if not job.overwrite:
                foreign += _foreign(job, name, record)
                others += [] if same else _others(path, record)
            if record is not None and same:
                decision, status = _decide(job, name, path, record)
            else:
                reason = "new" if record is None else "to be overwritten" if job.overwrite else "the input has changed"
                decision, status = PlannedVideo(name, path, tuple(job.products), reason), "todo"
            {"todo": plan.todo, "done": plan.done, "failed": plan.failed}[status].append(decision)
    if others:
        raise SetupError(
            "\n  ".join(["of another file of the same name there are results already (--overwrite):", *others[:20]])
        )
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        names = ", ".join(map(escape, foreign[:3]))
        raise SetupError(
            f"{escape(job.storage.where)}: {names}{more} were not made by an earlier run; --overwrite replaces them,"
            " another folder keeps them"
        )
    return plan


def _foreign(job: BatchJob, name: str, record: JournalEntry | None) -> list[str]:
    """Targets that are there, though no run that is journalled has made or begun them."""
    if record is not None and record.status == "started":
        return []
    made = {} if record is None else record.outputs
    targets = _targets(job, name).items()
    return [target for product, target in targets if product not in made and job.storage.exists(target)]


def _others(path: Path, record: JournalEntry | None) -> list[str]:
    """Where results are of another file, that is still there: a line that names both."""
    if record is None or record.status != "done":
        return []
    before = Path(record.input.path)
    if before == path.resolve() or not before.exists():
        return []
    return [f"{escape(path)}: there are results of {escape(before)}"]


def _decide(job: BatchJob, name: str, path: Path, record: JournalEntry) -> tuple[PlannedVideo, str]:
    """For an input that is as it was when the record was written."""
    everything = tuple(job.products)
    changed = [
        product for product, wanted in job.products.items() if record.parameters.get(product) != wanted.parameters
    ]
    if record.status == "failed":
        if not job.retry_failed and not set(changed) & record.parameters.keys():
            return PlannedVideo(name, path, (), record.cause), "failed"
        return PlannedVideo(name, path, everything, "failed before"), "todo"
    there = [product for product in everything if product not in changed]
    spoilt = [product for product in there if not job.storage.intact(record.outputs[product], verify=job.verify)]
    if not changed and not spoilt:
        return PlannedVideo(name, path, (), "done before"), "done"
    if record.status == "started":
        reason = "broken off before"
    else:
        reason = "an output is missing or was changed" if spoilt else "other parameters, or not made yet"
    return PlannedVideo(name, path, tuple(p for p in everything if p in changed or p in spoilt), reason), "todo"


def _same_input(job: BatchJob, path: Path, record: JournalEntry) -> bool:
    try:
        return InputFingerprint.of(path, content=job.hash_inputs).same(record.input)
    except OSError:
        return record.input.size < 0  # it could not be read then either


def _targets(job: BatchJob, name: str) -> dict[str, str]:
    """Where each product of an input goes."""
    return {product: wanted.place(name) for product, wanted in job.products.items()}


def run_plan(
    job: BatchJob,
    plan: Plan,
    journal: Journal,
    runner: Executor,
    told: Callable[[Result, RunSummary], None] = lambda *_: None,
) -> RunSummary:
    """Do what the plan says; every result is in the journal before `told` hears of it.

    Raises what ends the whole run: a full disk, lost hardware.
    """
    outcome = RunSummary(skipped=len(plan.done), left=len(plan.todo))
    outcome.failures = {failed.id: (failed.path, failed.reason) for failed in plan.failed}
    inputs: dict[str, InputFingerprint] = {}
    job.storage.clear(
        {str(PurePosixPath(place).parent) for one in plan.todo for place in _targets(job, one.id).values()}
    )
    at_once = max(runner.at_once, job.storage.at_once)
    try:
        for result in runner.run(_start(job, plan, journal, inputs, at_once=at_once)):
            record = _record(job, result, inputs.pop(result.work.id), journal.records[result.work.id])
            journal.append(record)
            outcome.left -= 1
            if result.cause is None:
                outcome.done += 1
            else:
                outcome.failures[result.work.id] = (result.work.path, result.cause)
            told(result, outcome)
            if result.cause is not None and job.fail_fast:
                break
    finally:
        write_failures(job.storage, outcome.failures)
    return outcome


def _start(
    job: BatchJob, plan: Plan, journal: Journal, inputs: dict[str, InputFingerprint], *, at_once: int
) -> Iterator[VideoJob]:
    """The works in order, each noted in the journal when it is begun: what a killed run leaves of it is its own."""
    coming = iter(plan.todo)
    while some := list(islice(coming, at_once)):
        started = []
        for decision in some:
            try:
                fingerprint = InputFingerprint.of(decision.path, content=job.hash_inputs)
            except OSError:
                fingerprint = InputFingerprint(str(decision.path.absolute()), -1, -1)
            inputs[decision.id] = fingerprint
            before = journal.records.get(decision.id)
            others = {} if before is None else {p: o for p, o in before.outputs.items() if p not in decision.products}
            same = before is not None and fingerprint.same(before.input)
            kept = others if same else {}
            _remove(job.storage, [output.path for product, output in others.items() if product not in kept])
            parameters = {} if before is None else {product: before.parameters[product] for product in kept}
            started.append(JournalEntry(decision.id, "started", fingerprint, parameters, kept))
        journal.append(*started)
        for decision in some:
            needed = {stream for product in decision.products for stream in job.products[product].streams}
            streams: tuple[Stream, ...] = tuple(stream for stream in STREAMS if stream in needed)
            yield VideoJob(decision.id, decision.path, streams, decision.products)


def _record(job: BatchJob, result: Result, fingerprint: InputFingerprint, started: JournalEntry) -> JournalEntry:
    made = {product: job.products[product].parameters for product in result.work.products}
    common = {"id": result.work.id, "input": fingerprint, "seconds": round(result.seconds, 3)}
    if result.made is None:
        kept = [output.path for output in started.outputs.values()]
        _remove(job.storage, [*_targets(job, result.work.id).values(), *kept])
        return JournalEntry(status="failed", parameters=made, cause=result.cause or "", **common)
    return JournalEntry(
        status="done",
        parameters={**started.parameters, **made},
        outputs={**started.outputs, **result.made.outputs},
        warnings=result.made.warnings,
        media=result.made.media,
        **common,
    )


def _remove(storage: Storage, targets: Iterable[str]) -> None:
    """What was made of an earlier state of an input is not of this one."""
    for target in targets:
        storage.remove(target)


def write_failures(storage: Storage, failures: Mapping[str, tuple[Path, str]]) -> None:
    """`failures.csv` with id, path and cause of each; no such file where there are none."""
    if not failures:
        storage.remove(FAILURES_FILE)
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "path", "cause"])
    writer.writerows((escape(name), escape(source), cause) for name, (source, cause) in failures.items())
    storage.write(FAILURES_FILE, table.getvalue().encode())
