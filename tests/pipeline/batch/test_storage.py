"""Storages: the same contract for a folder and for addresses of fsspec."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from avvp.pipeline.batch import remote_storage
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.open_storage import open_storage
from avvp.pipeline.batch.storage import Storage
from avvp.pipeline.errors import OutputError, SetupError


@pytest.fixture(params=["folder", "file://", "memory://"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(tmp_path / "out")
    place = f"{tmp_path}/out" if request.param == "file://" else uuid4().hex
    return open_storage(f"{request.param}{place}")


def test_files_are_made_replaced_read_and_removed(storage: Storage) -> None:
    assert (storage.read("a/b.npy"), storage.exists("a/b.npy"), storage.names("a", "")) == (None, False, [])
    made = storage.store("a/b.npy", lambda path: path.write_bytes(b"one"))
    assert (made.path, made.size, made.sha256[:8]) == ("a/b.npy", 3, "7692c3ad")
    assert (storage.read("a/b.npy"), storage.exists("a/b.npy")) == (b"one", True)
    storage.write("a/b.npy", b"two!")
    storage.write("a/a.txt", b"")
    storage.write("top.npy", b"")
    assert storage.read("a/b.npy") == b"two!"
    assert (storage.names("a", ".npy"), storage.names("a", "")) == (["a/b.npy"], ["a/a.txt", "a/b.npy"])
    assert storage.names("", ".npy") == ["top.npy"]
    storage.remove("a/b.npy")
    storage.remove("a/b.npy")
    assert storage.read("a/b.npy") is None


def test_failed_write_keeps_the_old_file(storage: Storage) -> None:
    storage.write("a", b"before")

    def fail(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise KeyError

    with pytest.raises(KeyError):
        storage.store("a", fail)
    assert storage.read("a") == b"before"
    assert storage.names("", "") == ["a"]


def test_an_output_is_intact_until_its_content_changes(storage: Storage) -> None:
    made = storage.store("a", lambda path: path.write_bytes(b"12345"))
    for listed in (False, True):
        with storage.cached_listing() if listed else storage.exclusive_lock():
            assert storage.intact(made)
            assert storage.intact(made, verify=True)
    for other in (b"1234", b"12346"):
        storage.write("a", other)
        assert not storage.intact(made)
    storage.write("a", b"12345")  # another time, the same content
    assert storage.intact(made)
    storage.remove("a")
    assert not storage.intact(made)


def test_verify_reads_the_content(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    made = storage.store("a", lambda path: path.write_bytes(b"12345"))
    (tmp_path / "a").write_bytes(b"12346")
    os.utime(tmp_path / "a", ns=(made.mtime_ns, made.mtime_ns))
    assert storage.intact(made)
    assert not storage.intact(made, verify=True)


def test_a_log_keeps_every_line(storage: Storage) -> None:
    log = storage.log("journal/run")
    for number in range(100):
        log.append(b"%03d\n" % number, immediately=number % 10 == 0)
    log.close()
    content = b"".join(storage.read(name) or b"" for name in storage.names("journal", ".jsonl"))
    assert content == b"".join(b"%03d\n" % number for number in range(100))


def test_a_remote_log_is_written_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_storage, "_FLUSH_AFTER", 0.2)
    storage = open_storage(f"memory://{uuid4().hex}")
    log = storage.log("run")
    log.append(b"a\n", immediately=True)
    assert storage.read("run-000000.jsonl") == b"a\n"
    log.append(b"b\n", immediately=False)
    log.append(b"c\n", immediately=False)
    assert storage.names("", ".jsonl") == ["run-000000.jsonl"]
    time.sleep(0.6)
    assert storage.read("run-000001.jsonl") == b"b\nc\n"


def test_remote_log_reports_a_failed_write_on_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_storage, "_FLUSH_AFTER", 0.05)
    storage = open_storage(f"memory://{uuid4().hex}")
    log = storage.log("run")

    def full(*_: object) -> None:
        raise OutputError("no room")

    monkeypatch.setattr(storage, "write", full)
    log.append(b"a\n", immediately=False)
    time.sleep(0.3)
    with pytest.raises(OutputError, match="no room"):
        log.append(b"b\n", immediately=False)


def test_half_written_files_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.write("deep/down/a", b"")
    (tmp_path / "deep" / "down" / ".avvp-left.part").write_bytes(b"half")
    storage.clear(["deep/down"])
    assert storage.names("deep/down", "") == ["deep/down/a"]
    blocked = pytest.raises(SetupError, match="in use by another process")
    with storage.exclusive_lock(), blocked, open_storage(tmp_path).exclusive_lock():
        pass


def test_invalid_locations_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError, match="is not a folder"):
        open_storage(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be created"):
        open_storage("/proc/nowhere")
    with pytest.raises(SetupError, match=r"ftp://127\.0\.0\.1:1/x"):
        open_storage("ftp://127.0.0.1:1/x")
    assert not LocalStorage(tmp_path).exists("x" * 300)
    with pytest.raises(OutputError, match="cannot be removed"):
        LocalStorage(tmp_path).remove("")
    with pytest.raises(SetupError, match="nosuch://place: Protocol not known: nosuch"):
        open_storage("nosuch://place")
    with pytest.raises(OutputError, match="cannot be written"):
        open_storage("file:///proc/nowhere").write("a", b"")


def test_incomplete_upload_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    storage: Any = open_storage(f"memory://{uuid4().hex}")
    monkeypatch.setattr(storage._files, "info", lambda _: {"size": 2})
    with pytest.raises(OutputError, match="2 bytes arrived of 3"):
        storage.write("a", b"abc")
