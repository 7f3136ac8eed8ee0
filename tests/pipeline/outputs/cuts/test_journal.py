"""The journal of a folder of cuts: what was written, after any end of an earlier run."""

from __future__ import annotations

from pathlib import Path

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.outputs.cuts import journal
from avvp.pipeline.outputs.cuts.journal import JOURNAL, CutJournal, FinishedCut

DONE = FinishedCut("a.mp4", "key", 0.5, 2.0, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    opened = CutJournal(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        opened.begin(name)
    opened.finish(DONE)
    (tmp_path / "a.mp4").write_bytes(b"1234")
    return tmp_path


def test_what_was_written_is_known_again(folder: Path) -> None:
    opened = CutJournal(folder)
    assert opened.own == {"a.mp4", "b.mp4"}
    assert opened.finished == {"a.mp4": DONE}
    assert opened.is_complete(folder, "a.mp4", "key")
    assert not opened.is_complete(folder, "a.mp4", "other")
    assert not opened.is_complete(folder, "b.mp4", "key")


def test_a_cut_that_was_begun_again_is_not_complete(folder: Path) -> None:
    CutJournal(folder).begin("a.mp4")
    assert not CutJournal(folder).is_complete(folder, "a.mp4", "key")


def test_a_changed_or_missing_file_is_not_complete(folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"12345")
    assert not CutJournal(folder).is_complete(folder, "a.mp4", "key")
    (folder / "a.mp4").unlink()
    assert not CutJournal(folder).is_complete(folder, "a.mp4", "key")


def test_a_journal_cut_off_at_any_byte_goes_on(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = (folder / JOURNAL).read_bytes()
    for length in range(len(content)):
        place = tmp_path_factory.mktemp("cut-off")
        (place / JOURNAL).write_bytes(content[:length])
        opened = CutJournal(place)
        opened.begin("c.mp4")
        opened.finish(FinishedCut("c.mp4", "key", 0.0, 1.0, 1))
        again = CutJournal(place)
        assert "c.mp4" in again.own
        assert again.finished["c.mp4"].size == 1
        assert again.own - {"c.mp4"} <= {"a.mp4", "b.mp4"}
    lines = content.splitlines()
    (folder / JOURNAL).write_bytes(lines[0])
    CutJournal(folder).begin("c.mp4")
    assert CutJournal(folder).own == {"a.mp4", "c.mp4"}


def test_a_journal_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_JOURNAL_BYTES", 10)
    with pytest.raises(SetupError, match=r"\.cuts\.jsonl: cannot be read: larger than"):
        CutJournal(folder)
