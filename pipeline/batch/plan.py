"""Plan a batch run: which outputs of which inputs have to be computed, and why.

The storage of a run holds its outputs and

journal/       which outputs were written for which input, see `journal`
failures.csv   the inputs that failed and why, while there are any
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...extractors.sampling import Stream
from ..errors import SetupError
from ..files import FAILURES_FILE, access_problem
from ..text import escape
from .journal import InputFingerprint, Journal, JournalEntry
from .storage import Storage

_MAX_LISTED = 20  # lines of an error message


@dataclass(frozen=True)
class OutputSpec:
    """A file that a task writes for each input.

    Attributes:
        path_template: relative to the storage, with {id} for the input's id.
        parameters: hash of everything that determines its content.
        streams: whose features it is made of.
    """

    path_template: str
    parameters: str
    streams: tuple[Stream, ...]

    def path(self, name: str) -> str:
        """Return the path for the input with this id, relative to the storage."""
        return self.path_template.replace("{id}", name)


@dataclass(frozen=True)
class BatchJob:
    """Inputs, outputs and rules of a batch run.

    Attributes:
        inputs: id -> media file; an id may hold slashes.
        storage: where outputs and journal are kept.
        specs: output name -> what is written.
        problems: id -> why an input cannot be used. Others may prove unusable when they are planned.
        overwrite: compute everything, and replace files that no run has written.
        retry_failed: include inputs that failed in an earlier run.
        verify: compare the checksum of every existing output.
        hash_inputs: identify inputs by content instead of path, size and time.
        fail_fast: stop at the first failure.
    """

    inputs: Mapping[str, Path]
    storage: Storage
    specs: Mapping[str, OutputSpec]
    problems: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    retry_failed: bool = False
    verify: bool = False
    hash_inputs: bool = False
    fail_fast: bool = False

    def paths(self, name: str) -> dict[str, str]:
        """Return output name -> path for an input."""
        return {output: spec.path(name) for output, spec in self.specs.items()}


class PlannedVideo(NamedTuple):
    """An input and the outputs to compute for it (none where nothing is to be done)."""

    id: str
    path: Path
    output_names: tuple[str, ...]
    reason: str  # of computing; for an earlier failure or an unusable input, its cause


@dataclass
class Plan:
    """All inputs of a job, each in one of four lists."""

    todo: list[PlannedVideo] = field(default_factory=list)
    done: list[PlannedVideo] = field(default_factory=list)
    failed: list[PlannedVideo] = field(default_factory=list)  # in an earlier run, not to be retried
    unusable: list[PlannedVideo] = field(default_factory=list)  # they lead to no file


def make_plan(job: BatchJob, journal: Journal) -> Plan:
    """Compare inputs, parameters and existing outputs with the journal.

    Args:
        job: what to compute.
        journal: of the job's storage.

    Returns:
        The plan.

    Raises:
        SetupError: the run would overwrite files that no run has written, or outputs of another input with the same id
            that still exists.
    """
    plan, foreign_files, id_clashes = Plan(), [], []
    with job.storage.cached_listing():
        if not journal.entries and not job.overwrite and job.storage.exists(FAILURES_FILE):
            foreign_files.append(FAILURES_FILE)
        for name, path in job.inputs.items():
            if problem := job.problems.get(name) or access_problem(path):
                plan.unusable.append(PlannedVideo(name, path, (), problem))
                continue
            entry = journal.entries.get(name)
            unchanged = entry is not None and not job.overwrite and _same_input(job, path, entry)
            if not job.overwrite:
                foreign_files += _foreign_files(job, name, entry)
                id_clashes += [] if unchanged else _id_clashes(path, entry)
            if entry is not None and unchanged:
                planned, status = _plan_unchanged(job, name, path, entry)
            else:
                reason = "new" if entry is None else "to be overwritten" if job.overwrite else "the input has changed"
                planned, status = PlannedVideo(name, path, tuple(job.specs), reason), "todo"
            {"todo": plan.todo, "done": plan.done, "failed": plan.failed}[status].append(planned)
    if id_clashes:
        headline = "there are results already of another file of the same name (--overwrite replaces them):"
        raise SetupError("\n  ".join([headline, *id_clashes[:_MAX_LISTED]]))
    if foreign_files:
        more = f" and {len(foreign_files) - 3} more" if len(foreign_files) > 3 else ""
        names = ", ".join(map(escape, foreign_files[:3]))
        raise SetupError(
            f"{escape(job.storage.where)}: {names}{more} were not made by an earlier run; --overwrite replaces them,"
            " another folder keeps them"
        )
    return plan


def _foreign_files(job: BatchJob, name: str, entry: JournalEntry | None) -> list[str]:
    """Return existing output files that no journalled run has written or started."""
    if entry is not None and entry.status == "started":
        return []
    written = {} if entry is None else entry.outputs
    paths = job.paths(name).items()
    return [path for output, path in paths if output not in written and job.storage.exists(path)]


def _id_clashes(path: Path, entry: JournalEntry | None) -> list[str]:
    """Return a line that names both files, where another existing file has results under this id."""
    if entry is None or entry.status != "done":
        return []
    earlier = Path(entry.input.path)
    if earlier == path.resolve() or not earlier.exists():
        return []
    return [f"{escape(path)}: there are results of {escape(earlier)}"]


def _plan_unchanged(job: BatchJob, name: str, path: Path, entry: JournalEntry) -> tuple[PlannedVideo, str]:
    """Plan an input that is as it was when the entry was written."""
    outputs = tuple(job.specs)
    changed = [output for output, spec in job.specs.items() if entry.parameters.get(output) != spec.parameters]
    if entry.status == "failed":
        if not job.retry_failed and not set(changed) & entry.parameters.keys():
            return PlannedVideo(name, path, (), entry.cause), "failed"
        return PlannedVideo(name, path, outputs, "failed before"), "todo"
    existing = [output for output in outputs if output not in changed]
    damaged = [output for output in existing if not job.storage.intact(entry.outputs[output], verify=job.verify)]
    if not changed and not damaged:
        return PlannedVideo(name, path, (), "done before"), "done"
    if entry.status == "started":
        reason = "interrupted before"
    else:
        reason = "an output is missing or was changed" if damaged else "other parameters, or not made yet"
    return PlannedVideo(name, path, tuple(o for o in outputs if o in changed or o in damaged), reason), "todo"


def _same_input(job: BatchJob, path: Path, entry: JournalEntry) -> bool:
    try:
        return InputFingerprint.of(path, content=job.hash_inputs).same(entry.input)
    except OSError:
        return entry.input.size < 0  # it could not be read then either
