"""Feature extraction over many videos: what is to be done, what is done already, and doing it.

FOLDER/<extractor>/<id>.npy   features in LLP's layout, see `feature_files`
FOLDER/features.json          the FeatureSpec
FOLDER/journal/               what was made of which input, see `journal`
FOLDER/failures.csv           the inputs that failed and why, while there are any
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..extractors.profiles import FeatureSpec
from ..extractors.rates import STREAMS, Stream
from .engine import Engine, Result, Video, Work
from .errors import MediaError, SetupError, printable
from .feature_files import SPEC_FILE, folder_name, read_spec
from .files import replacing, write_atomic
from .journal import InputFingerprint, Journal, OutputFingerprint, Record, hash_values
from .store import write_header

FAILURES_FILE = "failures.csv"
_PARAMETERS_VERSION = 1  # grows when the same parameters make other features


@dataclass(frozen=True)
class ExtractionJob:
    """What to extract and into which folder. `inputs`: id -> file; an id may hold slashes."""

    inputs: Mapping[str, Path]
    output: Path
    spec: FeatureSpec
    streams: tuple[Stream, ...]
    parameters: Mapping[Stream, str]  # see `parameter_hashes`
    overwrite: bool = False
    retry_failed: bool = False
    verify: bool = False
    hash_inputs: bool = False
    fail_fast: bool = False


class Decision(NamedTuple):
    """What an input needs: `streams` to compute, and why; or none."""

    id: str
    path: Path
    streams: tuple[Stream, ...]
    reason: str  # of computing; for an input that failed before, its cause


@dataclass
class Plan:
    """Every input is in one of the three."""

    todo: list[Decision] = field(default_factory=list)
    done: list[Decision] = field(default_factory=list)
    failed: list[Decision] = field(default_factory=list)  # earlier, and not to be tried again


@dataclass
class Outcome:
    """What became of a job. `failures` maps each id to its input and cause, those of earlier runs included."""

    done: int = 0
    skipped: int = 0
    left: int = 0  # not tried: the run was broken off
    failures: dict[str, tuple[Path, str]] = field(default_factory=dict)


def parameter_hashes(
    spec: FeatureSpec, made_with: Mapping[Stream, str], *, precision: str, decoder: str
) -> dict[Stream, str]:
    """For each stream a hash of everything that decides what its features are."""
    common = {
        "version": _PARAMETERS_VERSION,
        "profile": [spec.profile, spec.profile_version],
        "precision": precision,
        "decoder": decoder,
    }
    extractors = dict(zip(STREAMS, spec.extractors, strict=True))
    return {
        stream: hash_values({**common, "extractor": extractors[stream], "weights": weights})
        for stream, weights in made_with.items()
    }


def make_plan(job: ExtractionJob, journal: Journal) -> Plan:
    """Compare inputs, parameters and outputs with the journal. Raises SetupError where the folder holds features of
    another kind, or files that this program did not make and would overwrite."""
    if (job.output / SPEC_FILE).exists() and (differences := read_spec(job.output).differences(job.spec)):
        raise SetupError(
            f"{printable(job.output)}: holds other features (there / wanted): {'; '.join(differences)};"
            " choose another folder"
        )
    plan, foreign = Plan(), []
    for name, path in job.inputs.items():
        record = journal.records.get(name)
        if record is None and not job.overwrite:
            foreign += [target for target in _targets(job, name).values() if (job.output / target).exists()]
        decision, status = _decide(job, name, path, record)
        {"todo": plan.todo, "done": plan.done, "failed": plan.failed}[status].append(decision)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        names = ", ".join(map(printable, foreign[:3]))
        raise SetupError(
            f"{printable(job.output)}: {names}{more} were not made by `avvp extract`; --overwrite replaces them,"
            " another folder keeps them"
        )
    return plan


def _decide(job: ExtractionJob, name: str, path: Path, record: Record | None) -> tuple[Decision, str]:
    if record is not None and not job.overwrite and record.status != "started" and _same_input(job, path, record):
        changed = [stream for stream in job.streams if record.parameters.get(stream) != job.parameters[stream]]
        if record.status == "failed":
            if not job.retry_failed and not set(changed) & record.parameters.keys():
                return Decision(name, path, (), record.cause), "failed"
            return Decision(name, path, job.streams, "failed before"), "todo"
        there = [stream for stream in job.streams if stream not in changed]
        spoilt = [stream for stream in there if not record.outputs[stream].intact(job.output, verify=job.verify)]
        if not changed and not spoilt:
            return Decision(name, path, (), "done before"), "done"
        reason = "an output is missing or was changed" if spoilt else "other parameters, or a stream not made yet"
        return Decision(name, path, tuple(s for s in job.streams if s in changed or s in spoilt), reason), "todo"
    if record is None:
        reason = "new"
    elif job.overwrite:
        reason = "to be overwritten"
    else:
        reason = "broken off before" if record.status == "started" else "the input has changed"
    return Decision(name, path, job.streams, reason), "todo"


def _same_input(job: ExtractionJob, path: Path, record: Record) -> bool:
    try:
        return InputFingerprint.of(path, content=job.hash_inputs).same(record.input)
    except OSError:
        return record.input.size < 0  # it could not be read then either


def _targets(job: ExtractionJob, name: str) -> dict[Stream, str]:
    """Where each stream's features go, relative to the folder."""
    extractors = dict(zip(STREAMS, job.spec.extractors, strict=True))
    return {stream: f"{folder_name(extractors[stream])}/{name}.npy" for stream in job.streams}


def save_features(job: ExtractionJob, video: Video) -> dict[Stream, OutputFingerprint]:
    """Write the rows of a complete video, each file whole or not at all."""
    saved: dict[Stream, OutputFingerprint] = {}
    widths = dict(zip(STREAMS, job.spec.dims, strict=True))
    for stream, target in _targets(job, video.work.id).items():
        if stream not in video.work.streams:
            continue
        path = job.output / target
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            write_header(file, "float32", video.length(stream), widths[stream])
            for rows in video.blocks(stream):
                if not np.isfinite(rows).all():
                    raise MediaError(video.work.path, f"its {stream} features are not finite")
                file.write(rows.astype("<f4", copy=False).tobytes())
        saved[stream] = OutputFingerprint.of(job.output, target)
    return saved


def run_plan(
    job: ExtractionJob,
    plan: Plan,
    journal: Journal,
    engine: Engine,
    told: Callable[[Result, Outcome], None] = lambda *_: None,
) -> Outcome:
    """Do what the plan says; every result is in the journal before `told` hears of it.

    engine: one whose `finish` is `save_features`. Raises what ends the whole run: a full disk, lost hardware.
    """
    write_atomic(job.output / SPEC_FILE, json.dumps(job.spec.to_dict(), indent=1).encode() + b"\n")
    outcome = Outcome(skipped=len(plan.done), left=len(plan.todo))
    outcome.failures = {failed.id: (failed.path, failed.reason) for failed in plan.failed}
    inputs: dict[str, InputFingerprint] = {}
    try:
        for result in engine.run(_start(job, plan, journal, inputs)):
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
        write_failures(job.output, outcome.failures)
    return outcome


def _start(job: ExtractionJob, plan: Plan, journal: Journal, inputs: dict[str, InputFingerprint]) -> Iterable[Work]:
    """The works in order, each noted in the journal when it is begun: what a killed run leaves of it is its own."""
    for decision in plan.todo:
        try:
            fingerprint = InputFingerprint.of(decision.path, content=job.hash_inputs)
        except OSError:
            fingerprint = InputFingerprint(str(decision.path.absolute()), -1, -1)
        inputs[decision.id] = fingerprint
        before = journal.records.get(decision.id)
        others = {} if before is None else {s: o for s, o in before.outputs.items() if s not in decision.streams}
        same = before is not None and fingerprint.same(before.input)
        kept = others if same else {}
        _remove(job.output, [output.path for stream, output in others.items() if stream not in kept])
        parameters = {} if before is None else {stream: before.parameters[stream] for stream in kept}
        journal.append(Record(decision.id, "started", fingerprint, parameters, kept))
        yield Work(decision.id, decision.path, decision.streams)


def _record(job: ExtractionJob, result: Result, fingerprint: InputFingerprint, started: Record) -> Record:
    made = {stream: job.parameters[stream] for stream in result.work.streams}
    common = {"id": result.work.id, "input": fingerprint, "seconds": round(result.seconds, 3)}
    if result.cause is not None:
        kept = [output.path for output in started.outputs.values()]
        _remove(job.output, [*_targets(job, result.work.id).values(), *kept])
        return Record(status="failed", parameters=made, cause=result.cause, **common)
    assert result.summary is not None
    return Record(
        status="done",
        parameters={**started.parameters, **made},
        outputs={**started.outputs, **result.outcome},
        warnings=result.summary.warnings,
        media=asdict(result.summary.facts),
        **common,
    )


def _remove(folder: Path, targets: Iterable[str]) -> None:
    """Features of an earlier state of an input are not this input's."""
    for target in targets:
        (folder / target).unlink(missing_ok=True)


def write_failures(folder: Path, failures: Mapping[str, tuple[Path, str]]) -> None:
    """`failures.csv` with id, path and cause of each; no such file where there are none."""
    path = folder / FAILURES_FILE
    if not failures:
        path.unlink(missing_ok=True)
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "path", "cause"])
    writer.writerows((printable(name), printable(source), cause) for name, (source, cause) in failures.items())
    write_atomic(path, table.getvalue().encode())
