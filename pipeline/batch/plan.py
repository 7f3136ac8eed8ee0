"""Plan a batch run: which outputs of which inputs have to be computed, and why.

The storage of a run holds its outputs and

journal/       which outputs were written for which input, see `journal`
failures.csv   the inputs that failed and why, while there are any
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ...extractors.sampling import Stream
from ..errors import SetupError
from ..files import FAILURES_FILE, access_problem
from ..text import escape
from .failures import UNKNOWN, category_of_input
from .journal import InputFingerprint, Journal, JournalEntry, has_journal
from .storage import OutputFingerprint, Shard, Storage

_MAX_LISTED = 20  # lines of an error message


@dataclass(frozen=True)
class OutputSpec:
    """A file that a task writes for each input.

    Attributes:
        path_template: relative to the storage, with {id} for the input's id.
        parameters: hash of everything that determines its content.
        streams: whose features it is made of.
        source: name of the output that it can be made of again, without the input; empty where there is none.
    """

    path_template: str
    parameters: str
    streams: tuple[Stream, ...]
    source: str = ""

    def path(self, name: str) -> str:
        """Return the path for the input with this id, relative to the storage."""
        return fill_template(self.path_template, name)


@dataclass(frozen=True)
class BatchJob:
    """Inputs, outputs and rules of a batch run.

    Attributes:
        inputs: id -> media file; an id may hold slashes.
        storage: where outputs and journal are kept.
        specs: output name -> what is written.
        templates: output name -> path template of every file that runs of this kind may have written, with other
            options too; by default those of `specs`.
        problems: id -> why an input cannot be used. Others may prove unusable when they are planned.
        overwrite: compute everything, and replace files that no run has written.
        retry_failed: include inputs that failed in an earlier run.
        verify: compare the checksum of every existing output.
        hash_inputs: identify inputs by content instead of path, size and time.
        fail_fast: stop at the first failure.
        shard: of which these are the inputs; None where they are all.
    """

    inputs: Mapping[str, Path]
    storage: Storage
    specs: Mapping[str, OutputSpec]
    templates: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    retry_failed: bool = False
    verify: bool = False
    hash_inputs: bool = False
    fail_fast: bool = False
    shard: Shard | None = None

    def paths(self, name: str) -> dict[str, str]:
        """Return output name -> path for an input."""
        return {output: spec.path(name) for output, spec in self.specs.items()}

    def own_outputs(self, entry: JournalEntry) -> dict[str, OutputFingerprint]:
        """Return the outputs of an entry that such a run writes for its id: a journal may list any other file."""
        templates = {**{output: spec.path_template for output, spec in self.specs.items()}, **self.templates}
        return {
            output: file
            for output, file in entry.outputs.items()
            if output in templates and file.path == fill_template(templates[output], entry.id)
        }


def fill_template(template: str, name: str) -> str:
    """Return the path of an output for the input with this id, relative to the storage."""
    return template.replace("{id}", name)


class PlannedVideo(NamedTuple):
    """An input and the outputs to compute for it (none where nothing is to be done)."""

    id: str
    path: Path
    output_names: tuple[str, ...]
    reason: str  # of computing; for an earlier failure or an unusable input, its cause
    category: str = ""  # of that cause
    source: str = ""  # the output that the others are made of, in place of the input


@dataclass
class Plan:
    """All inputs of a job, each in one of four lists.

    Attributes:
        todo: to be computed; first what is made of outputs that are kept.
        done: computed before.
        failed: in an earlier run, not to be retried.
        unusable: they lead to no file.
        moved: entries of `done` whose outputs have the right content, but were copied or restored since: with their new
            fingerprints, so that the next run need not read them.
        strays: files that the journal lists for inputs to be computed, but that no such run writes. They stay.
    """

    todo: list[PlannedVideo] = field(default_factory=list)
    done: list[PlannedVideo] = field(default_factory=list)
    failed: list[PlannedVideo] = field(default_factory=list)
    unusable: list[PlannedVideo] = field(default_factory=list)
    moved: list[JournalEntry] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @property
    def remade(self) -> int:
        """Number of inputs whose outputs are made of one that is kept: nothing of them is decoded."""
        return sum(bool(planned.source) for planned in self.todo)


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
        has_failures = job.storage.exists(FAILURES_FILE)  # looked at in any case: it may be a link that leads out
        if has_failures and not journal.entries and not job.overwrite and not _is_of_other_shard(job):
            foreign_files.append(FAILURES_FILE)
        for name, path in job.inputs.items():
            if problem := job.problems.get(name) or access_problem(path):
                plan.unusable.append(PlannedVideo(name, path, (), problem, category_of_input(path)))
                continue
            entry = journal.entries.get(name)
            unchanged = entry is not None and not job.overwrite and _same_input(job, path, entry)
            existing = [output for output, file in job.paths(name).items() if job.storage.exists(file)]
            if not job.overwrite:
                foreign_files += _foreign_files(job, name, entry, existing)
                id_clashes += [] if unchanged else _id_clashes(path, entry)
            if entry is not None and unchanged:
                planned, status = _plan_unchanged(job, name, path, entry, plan.moved)
            else:
                reason = "new" if entry is None else "to be overwritten" if job.overwrite else "the input has changed"
                planned, status = PlannedVideo(name, path, tuple(job.specs), reason), "todo"
            {"todo": plan.todo, "done": plan.done, "failed": plan.failed}[status].append(planned)
            if entry is not None and status == "todo":
                own = job.own_outputs(entry)
                plan.strays += [file.path for output, file in entry.outputs.items() if output not in own]
    plan.todo.sort(key=lambda planned: not planned.source)
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


def _is_of_other_shard(job: BatchJob) -> bool:
    """Return whether another shard may have written the list of failures since this one has read the journal."""
    return job.shard is not None and has_journal(job.storage)


def _foreign_files(job: BatchJob, name: str, entry: JournalEntry | None, existing: Iterable[str]) -> list[str]:
    """Return those of the existing outputs that no journalled run has written or started."""
    if entry is not None and entry.status == "started":
        return []
    written = {} if entry is None else job.own_outputs(entry)
    return [job.specs[output].path(name) for output in existing if output not in written]


def _id_clashes(path: Path, entry: JournalEntry | None) -> list[str]:
    """Return a line that names both files, where another existing file has results under this id."""
    if entry is None or entry.status != "done":
        return []
    earlier = Path(entry.input.path)
    try:
        if earlier == path.resolve() or not earlier.exists():
            return []
    except OSError:  # a name that is too long, in a journal that was changed
        return []
    return [f"{escape(path)}: there are results of {escape(earlier)}"]


def _plan_unchanged(
    job: BatchJob, name: str, path: Path, entry: JournalEntry, moved: list[JournalEntry]
) -> tuple[PlannedVideo, str]:
    """Plan an input that is as it was when the entry was written; add the entry to `moved` if its outputs were."""
    outputs = tuple(job.specs)
    changed = {output for output, spec in job.specs.items() if entry.parameters.get(output) != spec.parameters}
    if entry.status == "failed":
        if not job.retry_failed and not changed & entry.parameters.keys():
            return PlannedVideo(name, path, (), escape(entry.cause), entry.category or UNKNOWN), "failed"
        return PlannedVideo(name, path, outputs, "failed before"), "todo"
    own = job.own_outputs(entry)
    current = {
        output: job.storage.check(own[output], verify=job.verify)
        for output in outputs
        if output not in changed and output in own
    }
    found = {output: file for output, file in current.items() if file is not None}
    missing = tuple(output for output in outputs if output not in found)
    if not missing:
        if entry.status == "done" and any(file != own[output] for output, file in found.items()):
            moved.append(replace(entry, outputs={**entry.outputs, **found}))
        return PlannedVideo(name, path, (), "done before"), "done"
    if entry.status == "started":
        reason = "interrupted before"
    elif changed.issuperset(missing):
        reason = "other parameters, or not made yet"
    else:
        reason = "an output is missing or was changed"
    sources = {job.specs[output].source for output in missing}
    source = next(iter(sources)) if len(sources) == 1 and sources <= found.keys() else ""
    return PlannedVideo(name, path, missing, reason, source=source), "todo"


def _same_input(job: BatchJob, path: Path, entry: JournalEntry) -> bool:
    try:
        return InputFingerprint.of(path, content=job.hash_inputs).same(entry.input)
    except (OSError, RuntimeError, ValueError):
        return entry.input.size < 0  # it could not be read then either
