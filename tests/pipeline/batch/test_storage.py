"""Storages: the same contract for a folder and for addresses of fsspec."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pytest
from avvp.pipeline.batch import local_storage, remote_storage
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.open_storage import open_storage
from avvp.pipeline.batch.storage import OutputFingerprint, Storage
from avvp.pipeline.errors import OutputError, SetupError
from fsspec.implementations.memory import MemoryFileSystem


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


@pytest.mark.parametrize("set_back", [False, True])
def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path: Path, set_back: bool) -> None:
    """Within the same tick of the clock of the file system, or with its time set back."""
    storage = LocalStorage(tmp_path)
    made = storage.store("a", lambda path: path.write_bytes(b"12345"))
    (tmp_path / "a").write_bytes(b"12346")
    if set_back:
        os.utime(tmp_path / "a", ns=(made.mtime_ns, made.mtime_ns))
    assert not storage.intact(made)


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_a_restored_file_is_read_once(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(address.format(tmp_path / "out"))
    made = storage.store("a", lambda path: path.write_bytes(b"12345"))
    shutil.copy2(tmp_path / "out/a", tmp_path / "backup")
    (tmp_path / "backup").rename(tmp_path / "out/a")
    found = storage.check(made)
    assert found is not None
    assert replace(found, mtime_ns=made.mtime_ns, state=made.state) == made
    monkeypatch.setattr(local_storage, "hash_file", None)
    monkeypatch.setattr(remote_storage, "hash_stream", None)
    assert storage.check(found) == found


def test_times_of_a_coarse_clock_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)  # as FAT or an old NFS rounds it
    storage = LocalStorage(tmp_path)
    made = storage.store("a", lambda path: path.write_bytes(b"12345"))
    assert not made.state
    assert storage.intact(made)
    assert not storage.intact(replace(made, sha256="0" * 64))


def test_verify_reads_the_content(storage: Storage) -> None:
    made = storage.store("a", lambda path: path.write_bytes(b"12345"))
    rotten = replace(made, sha256="0" * 64)  # as if its bytes had changed on the disk, and nothing else
    assert storage.intact(rotten)
    assert not storage.intact(rotten, verify=True)
    assert storage.intact(made, verify=True)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "b/../../a", "", ".", "..", "a\0b", "\ud800"])
def test_names_that_lead_out_are_refused(storage: Storage, name: str) -> None:
    output = OutputFingerprint(name, 1, 1, "0" * 64)
    operations: list[Callable[[], object]] = [
        lambda: storage.read(name),
        lambda: list(storage.lines(name)),
        lambda: storage.write(name, b"x"),
        lambda: storage.remove(name),
        lambda: storage.exists(name),
        lambda: storage.check(output),
        *([lambda: storage.log(name).append(b"x\n", immediately=True)] if name.strip(".") else []),
        *([lambda: storage.names(name, "")] if name else []),
    ]
    for operation in operations:
        with pytest.raises(OutputError, match="cannot be"):
            operation()
        with storage.cached_listing(), pytest.raises(OutputError, match="cannot be"):
            operation()


@pytest.mark.parametrize("address", ["{}", "file://{}"])
@pytest.mark.parametrize("link", ["vggish", "vggish/a.npy"])
def test_links_that_lead_out_are_refused(tmp_path: Path, address: str, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.npy").write_bytes(b"precious")
    path = tmp_path / "out" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere" / ("a.npy" if link.endswith("npy") else ""))
    storage = open_storage(address.format(tmp_path / "out"))
    for operation in (storage.read, storage.exists, storage.remove, lambda name: storage.write(name, b"x")):
        with pytest.raises(OutputError, match="link"):
            operation("vggish/a.npy")
        with storage.cached_listing(), pytest.raises(OutputError, match="link"):
            operation("vggish/a.npy")
    if "://" not in address:
        with pytest.raises(OutputError, match=f"{path} leads out of {tmp_path}/out; give the real folder"):
            storage.read("vggish/a.npy")
    assert (tmp_path / "elsewhere/a.npy").read_bytes() == b"precious"


def test_links_inside_are_followed(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "out")
    storage.write("real/a", b"x")
    (tmp_path / "out/link").symlink_to("real")
    assert storage.read("link/a") == b"x"
    (tmp_path / "way").symlink_to("out")
    assert open_storage(tmp_path / "way").read("link/a") == b"x"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "a") if kind == "pipe" else (tmp_path / "a").mkdir()
    storage = LocalStorage(tmp_path)
    with pytest.raises(OutputError, match="cannot be read: "):
        storage.read("a")
    with pytest.raises(OutputError, match="cannot be read: "):
        list(storage.lines("a"))
    assert not storage.intact(OutputFingerprint("a", (tmp_path / "a").stat().st_size, 0, ""))


def test_what_is_read_is_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write("a", b"12345")
    assert storage.read("a", limit=5) == b"12345"
    with pytest.raises(OutputError, match="larger than 4 bytes"):
        storage.read("a", limit=4)
    monkeypatch.setattr(local_storage, "MAX_LINE_BYTES", 10)
    storage.write("b", b"short\n" + b"x" * 50 + b"\nlast")
    lines = list(storage.lines("b"))
    assert (lines[0], len(lines), lines[2]) == (b"short", 3, b"last")
    if isinstance(storage, LocalStorage):
        assert len(lines[1]) == 11
        monkeypatch.setattr(local_storage, "MAX_LOG_BYTES", 10)
        with pytest.raises(OutputError, match="move it away"):
            list(storage.lines("b"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_line_that_does_not_fit_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    log = LocalStorage(tmp_path).log("run")
    log.append(b"one\n", immediately=True)
    write = os.write

    def half(descriptor: int, content: bytes) -> int:
        if len(content) < 4:
            raise OSError(code, os.strerror(code))
        return write(descriptor, content[:2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputError, match=f"run.jsonl: cannot be written: {os.strerror(code)}"):
        log.append(b"two two\n", immediately=True)
    monkeypatch.undo()
    log.append(b"three\n", immediately=True)
    assert (tmp_path / "run.jsonl").read_bytes() == b"one\nthree\n"


class Forgetful(fsspec.AbstractFileSystem):
    """A filesystem that is not fsspec's, whose files are in the memory of this process."""

    protocol = "forgetful"
    kept: ClassVar[dict[str, bytes]] = {}

    def put_file(self, lpath: str, rpath: str, *_: object, **__: object) -> None:
        self.kept[rpath] = Path(lpath).read_bytes()

    def cat_file(self, path: str, *_: object, **__: object) -> bytes:
        return self.kept[path]

    def info(self, path: str, **_: object) -> dict[str, Any]:
        return {"name": path, "size": len(self.kept[path]), "type": "file"}

    def rm_file(self, path: str) -> None:
        del self.kept[path]


def test_files_that_another_process_does_not_see_do_not_last() -> None:
    fsspec.register_implementation("forgetful", Forgetful, clobber=True)
    storage = open_storage("forgetful://x")
    storage.check_lasting()
    with pytest.raises(SetupError, match="cannot be read by another process"):
        storage.check_writable()
    assert not Forgetful.kept


class Kept(MemoryFileSystem):
    """A filesystem of another protocol whose files are in memory too."""

    protocol = "kept"


@pytest.mark.parametrize(
    "address",
    [
        "memory://x", "memory://", "kept://x", "simplecache::memory://x", "dir://a::memory://x", "data://x",
        "filecache::file:///tmp/x", "tar:///tmp/x", "gist://x",
    ],
)  # fmt: skip
def test_addresses_whose_files_do_not_last_are_refused(address: str) -> None:
    fsspec.register_implementation("kept", Kept, clobber=True)
    with pytest.raises(SetupError, match=re.escape(address.rstrip("/"))):
        open_storage(address).check_lasting()


def test_a_place_that_loses_what_is_written_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage: Any = open_storage(f"file://{tmp_path}/out")
    storage.check_lasting()
    storage.check_writable()
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.setattr(storage._files, "cat_file", lambda _: b"other")
    with pytest.raises(SetupError, match="cannot be read by anybody"):
        storage.check_writable()
    with pytest.raises(SetupError, match="results cannot be kept there"):
        open_storage("file:///proc/nowhere").check_writable()


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("s3://AKIAKEY:S3cr3t/x+y@bucket/feats", ("AKIAKEY", "S3cr3t/x+y")),
        ("sftp://user:pw%40word@host/data", ("pw%40word", "pw@word")),
        ("abfs://box@account/x?sig=SIGNATURE", ("SIGNATURE",)),
        ("nosuch://me:topsecret@place/x", ("topsecret",)),
    ],
)
def test_credentials_are_in_no_message(address: str, hidden: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    class Talkative(MemoryFileSystem):
        def info(self, path: str, **_: object) -> dict[str, Any]:
            raise ValueError(f"cannot log in at {address} with {hidden} for {path}")

    def connect(asked: str) -> tuple[Any, str]:
        if "nosuch" in asked:
            raise ValueError(f"unknown {asked}")
        return Talkative(), "/x"

    monkeypatch.setattr(fsspec.core, "url_to_fs", connect)
    with pytest.raises((OutputError, SetupError)) as raised:
        open_storage(address).read("a")
    shown = "".join(traceback.format_exception(raised.value))  # --debug prints it
    assert not any(secret in line for line in shown.splitlines() for secret in hidden if "raise" not in line), shown


def test_nothing_is_left_of_an_upload_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    storage = open_storage(f"file://{tmp_path}/out")

    def write(path: Path) -> None:
        path.write_bytes(b"x")
        assert not list((tmp_path / "tmp").iterdir())

    assert storage.intact(storage.store("a", write), verify=True)


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
