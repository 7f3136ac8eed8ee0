"""`avvp status`: what it reads of the journals of runs, in all of their states."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from avvp.pipeline.batch.journal import InputFingerprint, Journal, JournalEntry
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.monitor import read_log
from avvp.pipeline.batch.monitor.read_log import LogReader
from avvp.pipeline.batch.monitor.read_status import StatusReader
from avvp.pipeline.batch.remote_storage import RemoteStorage
from avvp.pipeline.batch.run_record import RunRecord, read_records, recorded
from avvp.pipeline.batch.storage import Shard, Storage
from avvp.pipeline.cli.durations import describe_duration
from avvp.pipeline.errors import OutputError
from support.command import Result

Run = Callable[..., Result]
ODD = 'a "quoted" \\ name, "status": "done", é\udcff'
RECORD = RunRecord(command="extract", log="run", inputs=10, todo=6, done=3, failures={"damaged": 1})


def entry(name: str, status: str, **values: object) -> JournalEntry:
    fingerprint = InputFingerprint(f"/in/{name}", 1000, 5)
    media = {"path": "x", "duration": 2.5} if status == "done" else {}
    return replace(JournalEntry(name, "started", fingerprint, {}), status=status, media=media, **values)


def write_log(storage: Storage, *entries: JournalEntry) -> RunRecord:
    """Write a log of a run, with a record that a killed run would leave."""
    journal = Journal(storage)
    journal.append(*entries)
    journal.close()
    record = replace(RECORD, log=journal.name, process=2**22 + 7, started=time.time() - 60)
    storage.write("journal/run.json", json.dumps(asdict(record)).encode())
    return record


@pytest.fixture(params=["folder", "address"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path) if request.param == "folder" else RemoteStorage(f"file://{tmp_path}")


def test_a_run_is_followed_while_it_is_written(storage: Storage) -> None:
    journal = Journal(storage)
    record = replace(RECORD, log=journal.name, started=time.time() - 100)
    reader = StatusReader(storage)
    with recorded(storage, record):
        before = reader.read()
        assert (before.done, before.failed, before.left, before.seconds_left) == (3, 1, 6, None)
        assert before.is_running
        journal.append(*(entry(name, "started") for name in ("a", ODD, "c")))
        assert reader.read().in_progress == 3
        journal.append(entry("a", "done"), entry(ODD, "failed", category="timeout", cause="slow"))
        journal.append(entry("never started", "done"), entry("x", "started"))  # of an output that was moved
        during = reader.read()
        assert (during.done, dict(during.failures), during.in_progress) == (4, {"damaged": 1, "timeout": 1}, 2)
        assert (during.left, during.inputs) == (4, 10)
        assert during.recent is not None
        assert during.recent.files == pytest.approx(2 / 100, rel=0.05)
        assert during.overall.media == pytest.approx(2.5 / 100, rel=0.05)
        assert during.seconds_left == pytest.approx(200, rel=0.05)
        assert reader.bytes_per_second() == pytest.approx(20, rel=0.05)
        journal.close()
    after = reader.read()
    assert (after.shards[0].state, after.is_running, after.recent, after.in_progress) == ("finished", False, None, 0)


@pytest.mark.parametrize(("error", "outcome"), [(KeyboardInterrupt(), "interrupted"), (OutputError("full"), "stopped")])
def test_how_a_run_ends_is_recorded(tmp_path: Path, error: BaseException, outcome: str) -> None:
    storage = LocalStorage(tmp_path)
    with pytest.raises(type(error)), recorded(storage, RECORD):
        raise error
    (record,) = read_records(storage)
    assert (record.outcome, record.ended > 0, record.is_alive()) == (outcome, True, False)


def test_states_of_runs_without_an_end(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    record = write_log(storage, entry("a", "started"))

    def state(**values: object) -> str:
        storage.write("journal/run.json", json.dumps(asdict(replace(record, **values))).encode())
        return StatusReader(storage).read().shards[0].state

    assert state() == "killed"
    assert state(process=os.getpid()) == "running"
    assert state(process=os.getpid(), process_start="1") == "killed"  # another process has its number
    assert state(machine="elsewhere") == "running"
    old = entry("a", "started")
    (tmp_path / f"journal/{record.log}.jsonl").write_bytes(replace(old, time=time.time() - 3600).to_json())
    assert state(machine="elsewhere", started=time.time() - 7200) == "silent"
    assert platform.node() == record.machine


def test_shards_are_added_up(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    for number, (todo, done) in {1: (3, 1), 3: (2, 0)}.items():
        record = RunRecord("extract", f"log{number}", 9, todo, done, {}, shard=str(Shard(number, 4)))
        with recorded(storage, record):
            pass
    with recorded(storage, RunRecord("extract", "old", 9, 9, 0, {}, shard="2/2", started=1.0)):  # of another count
        pass
    status = StatusReader(storage).read()
    assert (status.inputs, status.done, status.left, list(status.missing)) == (9, 1, 8, ["2/4", "4/4"])
    assert [shard.shard for shard in status.shards] == ["1/4", "3/4"]


def test_a_run_without_shards_and_the_only_shard_are_not_added_up(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    for shard in ("", "1/1"):
        with recorded(storage, RunRecord("extract", "log", 2, 0, 2, {}, shard=shard)):
            pass
        assert StatusReader(storage).read().done == 2


@pytest.mark.parametrize(
    ("shard", "change"),
    [
        ("1/1000000", {}),  # more shards than there can be, which would all be listed
        ("", {"outcome": "\x1b[2J"}),
        ("", {"failures": {"\x1b[2J": 1}}),
    ],
)
def test_records_of_strangers_are_left_out(tmp_path: Path, shard: str, change: dict[str, object]) -> None:
    storage = LocalStorage(tmp_path)
    name = "journal/run" + (f"-{shard.replace('/', '-of-')}" if shard else "") + ".json"
    record = replace(RECORD, shard=shard)
    storage.write(name, json.dumps(asdict(record) | change).encode())
    assert read_records(storage) == []


def test_a_clock_that_is_set_back_is_no_error(tmp_path: Path) -> None:
    lines = [replace(entry("a", status), time=at, run=1, line=1) for status, at in (("started", 5e3), ("done", 1e3))]
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/run.jsonl").write_bytes(b"".join(line.to_json() for line in lines))
    assert LogReader(LocalStorage(tmp_path), "run", 300).update().done == 1


def test_lines_are_scanned_as_they_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        entry("a", "started"), entry(ODD, "started"), entry("a", "done"), entry("b", "started"),
        entry(ODD, "failed", category="io", cause='"media": {"duration": 99, "seconds": 5'),
        entry("b", "done", warnings=['"duration": 7}']),
    ]  # fmt: skip
    storage = LocalStorage(tmp_path)
    record = write_log(storage, *entries)
    log = tmp_path / f"journal/{record.log}.jsonl"
    assert all(read_log._scan(line) for line in log.read_bytes().splitlines())
    with log.open("ab") as file:
        old = json.loads(entry("old", "failed").to_json())
        file.write(entry("old", "started").to_json() + json.dumps({**old, "category": "x"}).encode() + b"\n[]\n")
        del old["category"]
        file.write(json.dumps(old).encode() + b'\n{"id": "half')
    scanned = LogReader(storage, record.log, 300).update()
    monkeypatch.setattr(read_log, "_scan", lambda _: None)
    assert scanned == LogReader(storage, record.log, 300).update()
    assert (scanned.done, dict(scanned.failures), scanned.unreadable) == (2, {"io": 1, "unknown": 1}, 2)
    assert (scanned.media_seconds, scanned.input_bytes) == (5.0, 4000)


def test_the_command(run: Run, tmp_path: Path) -> None:
    nothing = run("status", tmp_path)
    assert (nothing.status, "no batch run has worked here" in nothing.err) == (2, True)
    gone = run("status", tmp_path / "gone")
    assert (gone.status, "no such folder" in gone.err, (tmp_path / "gone").exists()) == (2, True, False)
    storage = LocalStorage(tmp_path)
    record = write_log(storage, entry("a", "started"), entry("a", "done"))
    shown = run("status", tmp_path)
    assert shown.status == 1
    assert shown.out.splitlines()[:4] == [
        f"{tmp_path}: extract, 10 inputs, 50.0% with a result", "  done         4", "  failed       1: 1 damaged",
        "  left         5",
    ]  # fmt: skip
    assert f"  run          killed on {platform.node()}" in shown.out
    values = json.loads(run("status", tmp_path, "--json").out)
    assert (values["left"], values["failed"], values["running"]) == (5, 1, False)
    watched = run("status", tmp_path, "--watch", "0.1").out  # ends, as nothing goes on
    assert watched.rstrip().endswith(" 4/10 done, 1 failed")
    assert "put the folder before --watch" in run("status", "--watch", tmp_path).err
    (tmp_path / "journal/run.json").write_text('{"command": 5}')
    unrecorded = run("status", tmp_path)
    assert "did not record how many inputs there are\n  done         1\n  failed       0\n" in unrecorded.out
    assert unrecorded.status == 0
    assert record.todo == 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (130, "2 min 10 s"), (1800, "30 min"), (18_725, "5 h 12 min"), (270_000, "3 d 3 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text
