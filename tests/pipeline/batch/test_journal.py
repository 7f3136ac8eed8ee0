"""The journal of batch runs and what it is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.batch.feature_spool import FeatureSpool
from avvp.pipeline.batch.journal import InputFingerprint, Journal, JournalEntry, hash_values
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.storage import OutputFingerprint

INPUT = InputFingerprint("/clips/a.mp4", 10, 20)


def test_the_last_record_of_an_id_counts(tmp_path: Path) -> None:
    for cause in ("first", "second"):  # two runs, two files
        journal = Journal(LocalStorage(tmp_path))
        journal.append(JournalEntry("a", "failed", INPUT, {"audio": "x"}, cause=cause))
        journal.append(JournalEntry("b", "done", INPUT, {}, {"audio": OutputFingerprint("b.npy", 1, 2, "f")}))
        journal.close()
    again = Journal(LocalStorage(tmp_path))
    assert len(list((tmp_path / "journal").iterdir())) == 2
    assert again.entries["a"].cause == "second"
    assert again.entries["b"].outputs["audio"] == OutputFingerprint("b.npy", 1, 2, "f")


@pytest.mark.parametrize(
    "torn", ['{"id": "b", "sta', "7", "[]", '{"id": "b"}', "\x00\x00", '{"input": 3, "outputs": {}}']
)
def test_what_is_no_record_is_left_out(tmp_path: Path, torn: str) -> None:
    journal = Journal(LocalStorage(tmp_path))
    journal.append(JournalEntry("a", "done", INPUT, {}))
    journal.close()
    (file,) = (tmp_path / "journal").iterdir()
    with file.open("a") as end:
        end.write(torn)
    again = Journal(LocalStorage(tmp_path))
    assert list(again.entries) == ["a"]
    assert again.unreadable == 1


def test_an_input_is_known_by_place_size_and_time_or_by_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    plain, hashed = InputFingerprint.of(path), InputFingerprint.of(path, content=True)
    assert plain.same(hashed)
    assert not plain.same(replace(plain, mtime_ns=1))
    assert not plain.same(replace(plain, path="/elsewhere"))
    assert hashed.same(replace(hashed, mtime_ns=1, path="/elsewhere"))
    path.write_bytes(b"two")
    assert not InputFingerprint.of(path, content=True).same(hashed)


def test_hashes_do_not_depend_on_order() -> None:
    assert hash_values({"a": 1, "b": [2]}) == hash_values({"b": [2], "a": 1}) != hash_values({"a": 1, "b": [3]})


def test_a_spool_gives_back_rows_in_any_order() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    spool = FeatureSpool(3)
    spool.put(2, rows[2:])
    spool.put(0, rows[:2])
    order = [0, 0, 3, 1, 2] * 2000
    np.testing.assert_array_equal(np.concatenate(list(spool.blocks(order))), rows[order])
    with pytest.raises(ValueError, match="never stored"):
        list(spool.blocks([4]))
    spool.close()
