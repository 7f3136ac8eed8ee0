"""Files on disks that are full, on network file systems, and with every umask."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline import durable
from avvp.pipeline.errors import OutputError, SetupError
from avvp.pipeline.files import exclusive_lock, make_folder, replacing, write_atomic


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "_PAUSE", 0.0)


@pytest.fixture
def umask() -> Any:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077, 0o477])
def test_files_have_the_mode_of_the_umask(tmp_path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    with replacing(tmp_path / "a") as part:
        mode = stat.S_IMODE(part.stat().st_mode)
        assert mode == (0o666 & ~mask) | 0o600
        part.unlink()
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))  # as programs with temporary files of their own do
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def test_the_umask_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread sets it to 0, files of the others would be open to everybody."""

    def refuse(mask: int) -> int:
        raise AssertionError(mask)

    monkeypatch.setattr(os, "umask", refuse)
    threads = [threading.Thread(target=write_atomic, args=(tmp_path / str(n), b"x")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 8


def failing(operation: Callable[..., Any], code: int, times: float, *, after: bool) -> Callable[..., Any]:
    """Return the operation that fails so many times, before or after it has done its work."""
    left = [times]

    def attempt(*arguments: Any, **options: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            if after:
                operation(*arguments, **options)
            raise OSError(code, os.strerror(code))
        return operation(*arguments, **options)

    return attempt


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EXDEV, errno.EBUSY, errno.ETIMEDOUT])
@pytest.mark.parametrize("after", [False, True])
def test_a_rename_that_fails_for_a_moment_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, after: bool
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", failing(os.replace, code, 2, after=after))
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_rename_that_a_server_repeats_has_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS: the answer to the first request was lost, the second one finds no file."""
    monkeypatch.setattr(os, "replace", failing(os.replace, errno.ENOENT, 9, after=True))
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EIO, errno.ESTALE, errno.ENOENT, errno.ENOSPC, errno.EROFS])
def test_a_rename_that_keeps_failing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", failing(os.replace, code, 99, after=False))
    with pytest.raises(OutputError, match=f"a: cannot be written: {os.strerror(code)}"):
        write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_folder_is_on_disk_before_a_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_sync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_rename(source: Any, target: Any) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_rename)
    write_atomic(tmp_path / "a", b"x")
    assert steps == ["file", "rename", "folder"]
    make_folder(tmp_path / "b/c")
    assert steps[3:] == ["folder", "folder"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_folders_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Some file systems have no fsync of folders; an I/O error is no promise."""
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if code == errno.EINVAL:
        write_atomic(tmp_path / "a", b"x")
    else:
        with pytest.raises(OutputError, match=os.strerror(code)):
            write_atomic(tmp_path / "a", b"x")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300, "loop"])
def test_what_is_no_name_of_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="cannot be written"), replacing(tmp_path / name):
        pass


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another machine, which a lock may not keep out, only when they are old."""
    part, _ = durable.create_part(tmp_path)
    other = tmp_path / ".avvp-0123abcd-ef.part"
    for path in (tmp_path / ".avvp-oldstyle.part", other):
        path.touch()
    with exclusive_lock(tmp_path):
        assert list(tmp_path.iterdir()) == [other]
    os.utime(other, (0, time.time() - 90_000))
    with exclusive_lock(tmp_path):
        assert not list(tmp_path.iterdir())
    part.touch()
    monkeypatch.setattr(os, "unlink", failing(os.unlink, errno.EBUSY, 99, after=False))
    with exclusive_lock(tmp_path):  # debris does not keep anybody from working
        assert part.exists()


def test_a_second_process_removes_nothing(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path):
        part, _ = durable.create_part(tmp_path)
        with pytest.raises(SetupError, match="in use by another process"), exclusive_lock(tmp_path):
            pass
        assert part.exists()


def test_a_removal_that_fails_for_a_moment_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for after in (False, True):
        (tmp_path / "a").touch()
        monkeypatch.setattr(os, "unlink", failing(os.unlink, errno.ESTALE, 2, after=after))
        durable.remove_file(tmp_path / "a")
        monkeypatch.undo()
        monkeypatch.setattr(durable, "_PAUSE", 0.0)
        assert not list(tmp_path.iterdir())
