"""Batch runs with odd clocks, full disks, locked folders, odd names: nothing lost, nothing written twice."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline import durable
from avvp.pipeline.batch.journal import InputFingerprint, Journal, JournalEntry
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.open_storage import open_storage
from avvp.pipeline.files import exclusive_lock
from support.command import Result, Run
from support.fake_engine import use_fake_engine

INPUT = InputFingerprint("/clips/a.mp4", 10, 20)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake_engine(monkeypatch)
    monkeypatch.setattr(durable, "_PAUSE", 0.0)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, content in {"a.mp4": b"one", "b.mp4": b"two", "c.mp4": b"bad"}.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def extract(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> Callable[..., Result]:
    return lambda *more: run("extract", videos, "-o", tmp_path / "out", "--weights", tiny_bundle, *more)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return size, time and content of everything below a folder."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def results(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npy")}


def write(folder: Path, *entries: JournalEntry, clock: Iterator[float] | None = None) -> Journal:
    """Append entries in a run of their own."""
    journal = Journal(LocalStorage(folder))
    with pytest.MonkeyPatch.context() as patch:
        if clock is not None:
            patch.setattr(time, "time", lambda: next(clock))
        for entry in entries:
            journal.append(entry)
    journal.close()
    return journal


def failed(cause: str) -> JournalEntry:
    return JournalEntry("a", "failed", INPUT, {}, cause=cause)


class TestClocks:
    """Entries are ordered by run and line; clocks decide nothing."""

    @pytest.mark.parametrize("times", [[5, 4, 3, 2, 1, 0], [1, 1, 1, 1, 1, 1], [9e9, -5, 1, 9e9, 0, 1]])
    def test_the_last_entry_counts_whatever_the_clock_says(self, tmp_path: Path, times: list[float]) -> None:
        clock = iter(times)
        for run in range(3):
            write(tmp_path, failed(f"first of {run}"), failed(f"last of {run}"), clock=clock)
            assert Journal(LocalStorage(tmp_path)).entries["a"].cause == f"last of {run}"

    @pytest.mark.parametrize("moves", list(itertools.permutations([2e9, 1e9, 1.0])))
    def test_runs_whose_clock_goes_back_keep_their_results(
        self, extract: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: tuple[float, ...]
    ) -> None:
        messages = ("2 done, 0 done before", "0 done, 2 done before", "0 done, 2 done before")
        for now, message in zip(moves, messages, strict=True):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            assert message in extract().err
        (tmp_path / "in/a.mp4").write_bytes(b"bad")
        assert "0 done, 1 done before, 2 failed" in extract().err
        monkeypatch.setattr(time, "time", lambda: 5e9)
        assert "0 done, 1 done before, 2 failed" in extract().err

    @pytest.mark.parametrize("seconds", [-5_000_000_000, -1, 0, 13_569_465_600])
    def test_files_of_any_year(self, extract: Callable[..., Result], videos: Path, seconds: int) -> None:
        """From 1811 to 2400, as far as the file system has them."""
        os.utime(videos / "a.mp4", (seconds, seconds))
        assert "2 done, 0 done before" in extract().err
        again = extract().err
        assert "0 done, 2 done before" in again
        assert "unreadable" not in again

    def test_journals_of_earlier_versions_are_older_than_all_others(self, tmp_path: Path) -> None:
        (tmp_path / "journal").mkdir()
        lines = []
        for cause, moment in (("late", 9e9), ("early", 1.0)):
            document = json.loads(failed(cause).to_json())
            del document["run"], document["line"]
            lines.append(json.dumps({**document, "time": moment}) + "\n")
        (tmp_path / "journal/20200101T000000-1-aa.jsonl").write_text("".join(lines))
        journal = write(tmp_path, clock=iter(()))
        assert (journal.entries["a"].cause, journal.unreadable) == ("late", 0)
        journal = write(tmp_path, failed("new"), clock=iter([0.0]))
        assert journal.entries["a"].run == 1
        assert Journal(LocalStorage(tmp_path)).entries["a"].cause == "new"

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("address", ["{}", "file://{}"])
    def test_runs_at_the_same_time_are_merged_in_one_way(
        self, tmp_path: Path, order: tuple[int, int], address: str
    ) -> None:
        """Both have read the same journal, so both have the same number."""
        storage = open_storage(address.format(tmp_path / "out"))
        journals = [Journal(storage), Journal(storage)]
        entries = [JournalEntry("a", "done", INPUT, {}), JournalEntry("a", "started", INPUT, {})]
        for place in order:
            journals[place].append(JournalEntry("a", "started", INPUT, {}))
            journals[place].append(entries[place])
        for journal in journals:
            journal.close()
        merged = Journal(storage)
        assert {journal.entries["a"].run for journal in journals} == {1}
        assert merged.entries["a"].status == "done"
        merged.append(failed("later"))
        merged.close()
        assert Journal(storage).entries["a"].cause == "later"

    def test_two_machines_share_a_folder(
        self, run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One machine is a year behind; through an address there is no lock."""
        arguments = ("extract", videos, "-o", f"file://{tmp_path}/out", "--weights", tiny_bundle)
        for number in range(4):
            monkeypatch.setattr(time, "time", lambda number=number: 1.7e9 - 3e7 * (number % 2))
            (videos / f"new{number}.mp4").write_bytes(b"new")
            assert (
                f"{3 if number == 0 else 1} done, {0 if number == 0 else number + 2} done before" in run(*arguments).err
            )


class TestLock:
    """What a second process finds locked, it leaves as it is."""

    @pytest.mark.parametrize("command", ["extract", "parse", "extract packed"])
    def test_a_second_process_changes_nothing(
        self, run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path, command: str
    ) -> None:
        name, *layout = command.split()
        option = "--output-dir" if name == "parse" else "-o"
        arguments = (name, videos, option, tmp_path / "out", "--weights", tiny_bundle)
        assert run(*arguments).status == 1
        (tmp_path / "out/.avvp-of-the-first.part").write_bytes(b"half")
        (videos / "d.mp4").write_bytes(b"more")
        before = snapshot(tmp_path)
        more = ("--layout", "packed") if layout else ()
        with exclusive_lock(tmp_path / "in"), exclusive_lock(tmp_path / "out"):
            (tmp_path / "out/.avvp-of-the-first.part").write_bytes(b"half")
            before = snapshot(tmp_path)
            for mode in ((), ("--overwrite",), ("--retry-failed",), ("--dry-run-list",)):
                result = run(*arguments, *more, *mode)
                assert (result.status, "in use by another process" in result.err) == (2, True)
            assert snapshot(tmp_path) == before

    def test_a_folder_that_no_run_can_use_is_not_made(self, run: Run, videos: Path, tmp_path: Path) -> None:
        for option, command in (("-o", "extract"), ("--output-dir", "parse")):
            assert run(command, videos, option, tmp_path / "out", "--weights", "nosuch").status == 2
            assert not (tmp_path / "out").exists()


FULL = {"ENOSPC": errno.ENOSPC, "EDQUOT": errno.EDQUOT, "EROFS": errno.EROFS, "EIO": errno.EIO}


class Failing:
    """Lets the n-th of all system calls that write fail, and those that follow.

    Args:
        patch: undone by the caller.
        number: of the call, from 0.
        code: of the error.
        once: only this one.
    """

    def __init__(self, patch: pytest.MonkeyPatch, number: int, code: int, *, once: bool) -> None:
        self.calls, self._number, self._code, self._once = 0, number, code, once
        for owner, name in (
            (os, "write"), (os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "utime"), (Path, "write_bytes"),
        ):  # fmt: skip
            patch.setattr(owner, name, self._wrap(getattr(owner, name)))
        opened = os.open
        patch.setattr(
            os,
            "open",
            lambda path, flags, *a, **k: (self._wrap(opened) if flags & os.O_CREAT else opened)(path, flags, *a, **k),
        )

    @property
    def failed(self) -> bool:
        return self.calls > self._number

    def _wrap(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls - 1 == self._number or (self.calls > self._number and not self._once):
                raise OSError(self._code, os.strerror(self._code))
            return operation(*arguments, **options)

        return attempt


@pytest.mark.parametrize("code", FULL)
def test_a_disk_that_is_full_at_any_point_of_a_run(extract: Callable[..., Result], tmp_path: Path, code: str) -> None:
    """The run ends with one line, its folder can be used again, and what it had finished is not computed again."""
    assert extract().status == 1
    expected = results(tmp_path / "out")
    points = itertools.count({"ENOSPC": 0, "EDQUOT": 1, "EROFS": 2, "EIO": 3}[code], 4)
    number = 0
    for number in points:
        shutil.rmtree(tmp_path / "out")
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, number, FULL[code], once=code == "EIO")
            result = extract()
        if not failing.failed:
            break
        assert result.status in {1, 2}, result.err
        assert "Traceback" not in result.err
        if "done, " not in result.err:
            assert os.strerror(FULL[code]) in result.err, result.err
            assert len(result.err.strip().splitlines()) == 1
        again = extract()
        assert again.status == 1, again.err
        assert "unreadable" not in again.err
        assert results(tmp_path / "out") == expected
    assert number > 30
    assert not list((tmp_path / "out").rglob(".avvp-*"))


def test_outputs_that_cannot_be_removed(
    extract: Callable[..., Result], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract()
    (videos / "a.mp4").write_bytes(b"bad")
    unlink = os.unlink

    def refuse(path: Any, **options: Any) -> None:
        if str(path).endswith(".npy"):
            raise OSError(errno.EPERM, "Operation not permitted")
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    result = extract()
    assert result.status == 1
    assert "a.npy: cannot be removed: Operation not permitted" in result.err
    monkeypatch.setattr(os, "unlink", unlink)
    assert "0 done, 1 done before, 2 failed" in extract().err
    assert not any("/a.npy" in name for name in results(tmp_path / "out"))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("memory://x", "memory of this process"),
        ("memory://", "memory of this process"),
        ("simplecache::memory://x", "through a cache"),
        ("data://x", "no place where files can be written"),
        ("nosuch://x", "Protocol not known"),
        ("s3://AKIA:sec/ret@bucket/x", "s3fs"),
        ("sftp://user:pass%21word@127.0.0.1:1/x", "paramiko"),
        ("file:///proc/nowhere", "results cannot be kept there"),
        ("x" * 300, "too long"),
        ("loop", "File exists"),
        ("file", "is not a folder"),
        ("file/below", "Not a directory"),
    ],
)
@pytest.mark.parametrize("command", ["extract", "parse"])
def test_outputs_that_cannot_be_kept_are_refused_before_work(
    run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch,
    command: str, output: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    before = snapshot(tmp_path)
    for debug in ((), ("--debug",)):
        result = run(
            command, videos, "--output-dir" if command == "parse" else "-o", output, "--weights", tiny_bundle, *debug
        )
        assert (result.status, message in result.err) == (2, True), result.err
        assert not any(secret in result.err for secret in ("AKIA", "sec/ret", "pass%21", "pass!word"))
    assert result.err.count("Error: ") >= 1
    assert snapshot(tmp_path) == before


def test_credentials_of_inputs_are_in_no_file(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    names = ["s3://AKIA:secret@bucket/clip.mp4", "https://host/b.mp4?X-Amz-Signature=secret", "ftp://u:secret@h/a.mp4"]
    (tmp_path / "list.txt").write_text("\n".join([*names, str(videos / "a.mp4")]))
    for more in ((), ("--keep-suffix",), ("--dry-run-list",)):
        result = run(
            "extract", "--list", tmp_path / "list.txt", "-o", tmp_path / "out", "--weights", tiny_bundle,
            "--json-log", tmp_path / "log.jsonl", *more,
        )  # fmt: skip
        assert result.status == 1, result.err
        assert "secret" not in result.out + result.err
        assert "AKIA" not in result.out + result.err
    written = b"".join(
        path.read_bytes() for path in [*(tmp_path / "out").rglob("*"), tmp_path / "log.jsonl"] if path.is_file()
    )
    assert b"clip" in written
    assert b"secret" not in written
    assert b"AKIA" not in written


@pytest.mark.parametrize("link", ["journal", "vggish_tiny", "failures.csv", "features.json"])
def test_links_out_of_the_results_are_refused(extract: Callable[..., Result], tmp_path: Path, link: str) -> None:
    extract()
    path = tmp_path / "out" / link
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = {name: content for name, (_, content) in snapshot(tmp_path).items()}
    for mode in ((), ("--overwrite",)):
        result = extract(*mode)
        assert result.status == 2
        assert f"{path} leads out of {tmp_path}/out; give the real folder" in result.err
        assert {name: content for name, (_, content) in snapshot(tmp_path).items()} == before


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "\udcff.mp4", "a\nb.mp4", "loop.mp4", "-.mp4", "\u202e.mp4"])
def test_odd_names_of_inputs(run: Run, tmp_path: Path, tiny_bundle: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / name
    if name == "loop.mp4":
        path.symlink_to(name)
    else:
        path.write_bytes(b"one")
    for message in ("1 done, 0 done before, 0 failed", "0 done, 1 done before, 0 failed"):
        result = run("extract", tmp_path / "in", "-o", tmp_path / "out", "--weights", tiny_bundle)
        assert "Traceback" not in result.err
        assert (result.status, message in result.err) == ((1, False) if name == "loop.mp4" else (0, True)), result.err


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_results_have_the_mode_of_the_umask(extract: Callable[..., Result], tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        extract()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert modes == {0o666 & ~mask}


def test_a_json_log_that_nobody_reads_ends_the_run_in_one_line(extract: Callable[..., Result]) -> None:
    result = extract("--json-log", "/dev/full")
    assert result.status == 1
    assert result.err.strip().splitlines()[-1].startswith("Error: --json-log: cannot be written: ")
    assert "Traceback" not in result.err
    assert "1 done, 1 done before, 1 failed" in extract().err
