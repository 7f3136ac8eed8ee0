"""What a run has set out to do, for `avvp status`: `journal/run.json`, of a shard `journal/run-3-of-16.json`.

The record is written when the inputs are planned and again at the end of the run. What happens in between is in the
run's log. A run that was killed leaves a record without an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from .failures import CATEGORIES, UNKNOWN
from .journal_fields import integer_between, mapping_of, read_fields, read_name, read_number, read_text
from .storage import JOURNAL_FOLDER, MAX_SHARDS, Shard, Storage

MAX_RECORD_BYTES = 1 << 16
_OUTCOMES = frozenset({"", "finished", "interrupted", "stopped"})


@dataclass(frozen=True)
class RunRecord:
    """One run over a folder, or one shard of it.

    Attributes:
        command: its name.
        log: name of its log in the folder of the journal, without number and suffix.
        inputs: of all shards.
        todo: inputs of this run that it had to compute.
        remade: those of them whose outputs it could make of others, without decoding.
        done: inputs of this run that an earlier run had computed.
        failures: category -> inputs of this run that failed before, or lead to no file.
        shard: "3/16"; empty for a run without shards.
        machine: name of the machine.
        process: its id there.
        process_start: what tells it from later processes with the same id; empty where the system does not say.
        started: seconds since 1970.
        ended: the same; 0 while it runs, and for a run that was killed.
        outcome: "finished", "interrupted" or "stopped" by an error; empty before its end.
    """

    command: str
    log: str
    inputs: int
    todo: int
    done: int
    failures: Mapping[str, int]
    remade: int = 0
    shard: str = ""
    machine: str = field(default_factory=platform.node)
    process: int = field(default_factory=os.getpid)
    process_start: str = field(default_factory=lambda: _process_start(os.getpid()))
    started: float = field(default_factory=time.time)
    ended: float = 0.0
    outcome: str = ""

    @property
    def own_inputs(self) -> int:
        """Number of inputs of this run."""
        return self.todo + self.done + sum(self.failures.values())

    @property
    def shard_count(self) -> int:
        """Number of shards, 1 for a run without."""
        return int(self.shard.partition("/")[2] or 1)

    def is_alive(self) -> bool | None:
        """Return whether its process runs; None where that cannot be known, on another machine."""
        if self.ended:
            return False
        if self.machine != platform.node():
            return None
        start = _process_start(self.process)
        return bool(start) and start == self.process_start if self.process_start else None


@contextlib.contextmanager
def recorded(storage: Storage, record: RunRecord) -> Iterator[None]:
    """Write the record of a run, and at the end of the context how the run has ended. Raises OutputError."""
    name = _name(record.shard)
    _write(storage, name, record)
    outcome = "stopped"
    try:
        yield
        outcome = "finished"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        with contextlib.suppress(OutputError):  # of a full disk; what has ended the run says more
            _write(storage, name, replace(record, ended=time.time(), outcome=outcome))


def read_records(storage: Storage) -> list[RunRecord]:
    """Return the last run of each shard, the newest first; records that are not valid are left out."""
    found = []
    for name in storage.names(JOURNAL_FOLDER, ".json"):
        with contextlib.suppress(ValueError, RecursionError):
            content = storage.read(name, limit=MAX_RECORD_BYTES)
            record = RunRecord(**read_fields(json.loads(content or b""), _FIELDS, frozenset({"remade"})))
            if name == _name(record.shard):
                found.append(record)
    return sorted(found, key=lambda record: record.started, reverse=True)


def _name(shard: str) -> str:
    return f"{JOURNAL_FOLDER}/run{'-' * bool(shard)}{shard.replace('/', '-of-')}.json"


def _write(storage: Storage, name: str, record: RunRecord) -> None:
    storage.write(name, json.dumps(asdict(record)).encode() + b"\n")


def _process_start(process: int) -> str:
    """Return when a process was started, in ticks of the system; empty for none, and where the system does not say."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _shard(value: Any) -> str:
    if read_text(value):
        number, _, count = value.partition("/")
        if value != str(Shard(int(number), int(count))) or int(count) > MAX_SHARDS:
            raise ValueError("not a shard")
    return value


def _failures(value: Any) -> dict[str, int]:
    counts = mapping_of(_COUNT)(value)
    if not counts.keys() <= CATEGORIES | {UNKNOWN}:
        raise ValueError("not a category")
    return counts


def _outcome(value: Any) -> str:
    if read_text(value) not in _OUTCOMES:
        raise ValueError("not an outcome")
    return value


_COUNT = integer_between(0)
_FIELDS = {
    "command": read_text,
    "log": read_name,
    "inputs": _COUNT,
    "todo": _COUNT,
    "remade": _COUNT,
    "done": _COUNT,
    "failures": _failures,
    "shard": _shard,
    "machine": read_text,
    "process": _COUNT,
    "process_start": read_text,
    "started": read_number,
    "ended": read_number,
    "outcome": _outcome,
}
