"""Status of the runs over a folder: what is done, failed and left, how fast it goes, and how long it will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import SetupError
from ...text import escape
from ..failures import UNKNOWN, count_categories
from ..journal import Journal, has_journal
from ..run_record import RunRecord, read_records
from ..storage import Storage
from .read_log import LogReader, LogTotals

WINDOW = 300.0  # seconds that count as the last minutes
_SILENCE = 900.0  # seconds without a line after which nothing is assumed of a run on another machine


@dataclass(frozen=True)
class ShardStatus:
    """One run, or one shard of it.

    Attributes:
        shard: "3/16"; empty for a run without shards.
        state: "running", "finished", "interrupted", "stopped" (by an error), "killed", or "silent": on another machine,
            without a new line for 15 minutes.
        machine: its name.
        left: inputs without a result.
        in_progress: inputs that are being computed.
        idle: seconds since its last line.
        done: inputs that this run has computed.
    """

    shard: str
    state: str
    machine: str
    left: int
    in_progress: int
    idle: float
    done: int


@dataclass(frozen=True)
class Rate:
    """Results per second, and seconds of media per second."""

    files: float = 0.0
    media: float = 0.0


@dataclass(frozen=True)
class RunStatus:
    """Status of all runs over a folder that share the inputs of the last one.

    Attributes:
        where: the folder or address.
        command: of the last run; empty for journals of versions that recorded none.
        inputs: of all shards; None where that is not known.
        done: inputs with a result.
        failures: category -> inputs that failed.
        in_progress: inputs that are being computed.
        left: inputs without a result, those in progress included; None where that is not known.
        recent: rate of the runs that go on, in the last minutes; None if none goes on.
        overall: the same since they began; of the last runs if none goes on.
        seconds_left: until the running shards are done; None if that cannot be told.
        shards: the runs, by shard.
        missing: shards that have not been started.
        unreadable: lines of logs that are no entries.
        remade: inputs whose outputs these runs make of kept embeddings, without decoding.
    """

    where: str
    command: str
    inputs: int | None
    done: int
    failures: Mapping[str, int]
    in_progress: int
    left: int | None
    recent: Rate | None
    overall: Rate
    seconds_left: float | None
    shards: Sequence[ShardStatus] = ()
    missing: Sequence[str] = ()
    unreadable: int = 0
    remade: int = 0

    @property
    def failed(self) -> int:
        """Number of inputs that failed."""
        return sum(self.failures.values())

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        return any(shard.state == "running" for shard in self.shards)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping."""
        return {**asdict(self), "failed": self.failed, "running": self.is_running}


@dataclass(frozen=True)
class _Progress:
    record: RunRecord
    totals: LogTotals
    status: ShardStatus
    recent: Rate
    overall: Rate
    input_bytes_per_second: float


@dataclass
class StatusReader:
    """Reads the status of a folder again and again; what was read of a log is not read again.

    Attributes:
        storage: the folder or address; nothing is written to it, and no lock is taken.
    """

    storage: Storage
    _logs: dict[str, LogReader] = field(default_factory=dict, init=False)

    def read(self) -> RunStatus:
        """Read the status.

        Returns:
            The status.

        Raises:
            SetupError: there is no journal.
            OutputError: a file cannot be read.
        """
        records = read_records(self.storage)
        if not records:
            return self._read_journal()
        last = records[0]
        kind = (bool(last.shard), last.shard_count)  # a run without shards is not shard 1/1
        runs = [self._progress(record) for record in records if (bool(record.shard), record.shard_count) == kind]
        runs.sort(key=lambda run: int(run.record.shard.partition("/")[0] or 0))
        known = {run.record.shard for run in runs}
        names = [f"{number}/{last.shard_count}" for number in range(1, last.shard_count + 1)] if last.shard else []
        missing = [name for name in names if name not in known]
        not_started = max(0, last.inputs - sum(run.record.own_inputs for run in runs)) if missing else 0
        failures: Counter[str] = Counter()
        for run in runs:
            failures.update(run.record.failures)
            failures.update(run.totals.failures)
        going = [run for run in runs if run.status.state == "running"]
        left = sum(run.status.left for run in runs)
        times = [run.status.left / rate for run in going if (rate := run.recent.files or run.overall.files)]
        return RunStatus(
            where=self.storage.where,
            command=last.command,
            inputs=last.inputs,
            done=sum(run.record.done + run.totals.done for run in runs),
            failures=count_categories(failures.elements()),
            in_progress=sum(run.status.in_progress for run in going),
            left=left + not_started,
            recent=_sum([run.recent for run in going]) if going else None,
            overall=_sum([run.overall for run in going or runs]),
            seconds_left=max(times) if times and len(times) == len(going) else None,
            shards=[run.status for run in runs],
            missing=missing,
            unreadable=sum(run.totals.unreadable for run in runs),
            remade=sum(run.record.remade for run in runs),
        )

    def bytes_per_second(self) -> float | None:
        """Return how many bytes of inputs the last run has computed per second; None where nothing is known.

        Runs that made outputs of kept embeddings do not count: they read no inputs.

        Raises:
            OutputError: a file cannot be read.
        """
        records = [record for record in read_records(self.storage) if not record.remade]
        speeds = [self._progress(record).input_bytes_per_second for record in records]
        return next(filter(None, speeds), None)

    def _progress(self, record: RunRecord) -> _Progress:
        reader = self._logs.setdefault(record.log, LogReader(self.storage, record.log, WINDOW))
        totals, now = reader.update(), time.time()
        idle = max(0.0, now - max(totals.last, record.started))
        alive = record.is_alive()
        if record.ended:
            state = record.outcome
        elif alive is None:
            state = "running" if idle < _SILENCE else "silent"
        else:
            state = "running" if alive else "killed"
        end = record.ended or (max(now, totals.last) if state == "running" else totals.last)
        elapsed = max(end - record.started, 1e-3)
        window = min(WINDOW, elapsed)
        recent = [media for at, media in totals.recent if at > end - window]
        return _Progress(
            record,
            totals,
            ShardStatus(
                shard=record.shard,
                state=state,
                machine=record.machine,
                left=max(0, record.todo - totals.results),
                in_progress=len(totals.in_progress) if state == "running" else 0,
                idle=idle,
                done=totals.done,
            ),
            recent=Rate(len(recent) / window, sum(recent) / window),
            overall=Rate(totals.results / elapsed, totals.media_seconds / elapsed),
            input_bytes_per_second=totals.input_bytes / elapsed,
        )

    def _read_journal(self) -> RunStatus:
        """Read a journal whose runs have recorded nothing of their inputs."""
        if not has_journal(self.storage):
            raise SetupError(
                f"{escape(self.storage.where)}: no batch run has worked here (there is no journal); name the folder of"
                " its results, as in -o or --output-dir"
            )
        journal = Journal(self.storage)
        entries = journal.entries.values()
        return RunStatus(
            where=self.storage.where,
            command="",
            inputs=None,
            done=sum(entry.status == "done" for entry in entries),
            failures=count_categories(entry.category or UNKNOWN for entry in entries if entry.status == "failed"),
            in_progress=0,
            left=None,
            recent=None,
            overall=Rate(),
            seconds_left=None,
            unreadable=journal.unreadable,
        )


def _sum(rates: Sequence[Rate]) -> Rate:
    return Rate(sum(rate.files for rate in rates), sum(rate.media for rate in rates))
