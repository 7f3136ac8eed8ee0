"""The record of pseudo labels: nothing that it says makes a run remove or replace files of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.datasets.pseudo_labels import RECORD
from avvp.pipeline.pseudo_labeling.record import is_unchanged, mark_unfinished, read_record, write_record

GOOD: dict[str, Any] = {"wrote": {"prompts.toml": ["ab"]}, "labelled": ["a", "sub/b"], "review": ["review/a.html"]}


def test_reading_inverts_writing(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    assert read_record(storage) == {}
    write_record(storage, GOOD)
    assert read_record(storage) == GOOD


@pytest.mark.parametrize(
    "content",
    [
        "", "7", "[]", "null", "[" * 200_000, '{"x": ' + "[" * 900 + "]" * 900 + "}", '{"x": NaN}', "\0", '"labelled"',
        *map(json.dumps, [
            {**GOOD, "labelled": "a"}, {**GOOD, "labelled": [1]}, {**GOOD, "labelled": ["../a"]},
            {**GOOD, "labelled": [{}]},
            {**GOOD, "labelled": ["/etc/a"]}, {**GOOD, "labelled": ["\ud800"]}, {**GOOD, "labelled": [""]},
            {**GOOD, "review": ["notes.html"]}, {**GOOD, "review": ["review/../x.html"]}, {**GOOD, "review": [["a"]]},
            {**GOOD, "review": ["review/notes.txt"]}, {**GOOD, "review": {}}, {**GOOD, "wrote": []},
            {**GOOD, "wrote": {"a": "b"}}, {**GOOD, "wrote": {"a": [1]}}, {**GOOD, "wrote": {"../a": ["b"]}},
        ]),
    ],
)  # fmt: skip
def test_a_record_that_was_changed_lists_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_text(content)
    storage = LocalStorage(tmp_path)
    assert read_record(storage) == {}
    assert mark_unfinished(storage, {"prompts.toml": b"x"}, ["a"]) == {}
    assert read_record(storage)["labelled"] == ["a"]


def test_files_that_were_changed_are_not_own(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("AVVP_train.csv", b"")
    record = {"wrote": {"AVVP_train.csv": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}
    assert is_unchanged(storage, record, "AVVP_train.csv")
    storage.write("AVVP_train.csv", b"mine")
    assert not is_unchanged(storage, record, "AVVP_train.csv")
