"""Results that are whole or not there, and what the inputs on a command line stand for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from avvp.pipeline.cli.options.inputs import collect_inputs
from avvp.pipeline.errors import OutputError
from avvp.pipeline.files import check_writable, write_atomic


def test_replacing_writes_with_default_permissions(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.json", b"{}")
    (tmp_path / "b.json").write_bytes(b"{}")
    assert (tmp_path / "a.json").read_bytes() == b"{}"
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.json", "b.json")}
    assert len(modes) == 1


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_replacing_keeps_the_old_file_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "a.json").write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OutputError, match=r"a\.json: cannot be written: No space left"):
        write_atomic(tmp_path / "a.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_replacing_leaves_no_partial_file_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_replacing_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_bytes(b"old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_atomic(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_bytes() == b"new"


def test_replacing_writes_into_devices() -> None:
    write_atomic(Path(os.devnull), b"gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_replacing_a_file_with_the_longest_name(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("x" * 250 + ".json"), b"{}")
    assert len(list(tmp_path.iterdir())) == 1


def test_unwritable_folders_are_errors(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="no such folder"):
        check_writable(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="cannot be written to"):
        check_writable(Path("/proc"))


def test_inputs(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.mkv", "notes.txt", "deep/c.webm", "odd[1].mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.mp4").mkdir()

    def names(*arguments: str, recursive: bool = False) -> tuple[list[str], list[str]]:
        found, problems = collect_inputs([str(tmp_path / argument) for argument in arguments], recursive=recursive)
        return [path.name for path in found], problems

    assert names("") == (["a.mkv", "b.MP4", "odd[1].mp4"], [])
    assert names("", recursive=True) == (["a.mkv", "b.MP4", "c.webm", "odd[1].mp4"], [])
    assert names("*.txt") == (["notes.txt"], [])
    assert names("odd[1].mp4") == (["odd[1].mp4"], [])  # a name that exists is no pattern
    assert names("a.mkv", "*.mkv", "a.mkv") == (["a.mkv"], [])
    found, problems = names("gone.mp4", "folder.mp4", "x*.mp4")
    assert found == []
    assert [problem.rsplit(": ", 1)[1] for problem in problems] == [
        "no such file", "no media files in this folder (--recursive includes its subfolders)", "no such file",
    ]  # fmt: skip


def test_broken_links_are_listed_as_inputs(tmp_path: Path) -> None:
    """Or its absence would go unnoticed: it is named where it is opened."""
    (tmp_path / "lost.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for named, recursive in ((tmp_path, False), (tmp_path, True), (tmp_path / "*.mp4", False)):
        assert collect_inputs([str(named)], recursive=recursive) == ([tmp_path / "lost.mp4"], [])
