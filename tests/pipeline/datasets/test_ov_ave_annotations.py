"""Annotations in the form of OV-AVEBench: clips of seen and unseen classes, a bit for each second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.localization import annotated_targets
from avvp.pipeline.datasets.ov_ave_annotations import CLASS_FILE, OV_AVE_FILE, SECONDS_FILES
from avvp.pipeline.datasets.unav_annotations import UNAV_FILE
from avvp.pipeline.errors import DatasetError

ROWS = (
    ("train", "dog barking", "close", "a-_1"),
    ("val", "dog barking", "close", "b"),
    ("val", "volcano explosion", "open", "c"),
    ("test", "people burping", "open", "d"),
)
SECONDS: dict[str, Any] = {
    "a-_1": {"category": "dog barking", "label": "[0, 1, 1, 0, 1, 0, 0, 0, 0, 0]"},
    "b": {"category": "dog barking", "label": "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"},
    "c": {"category": "volcano explosion", "label": "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"},
    "d": {"category": "people burping", "label": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]},
}


def write(folder: Path, *, rows: Any = ROWS, seconds: Any = SECONDS, classes: str | None = None) -> Path:
    lines = ["split,cls_name,cls_type,vid_name", *(",".join(row) for row in rows)]
    (folder / OV_AVE_FILE).write_text("\n".join(lines) + "\n")
    (folder / SECONDS_FILES[0]).write_text(json.dumps(seconds))
    if classes is not None:
        (folder / CLASS_FILE).write_text(classes)
    return folder


def test_clips_have_the_runs_of_their_class(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path))
    assert annotations.task == "avel"
    assert annotations.labels == ("dog barking", "people burping", "volcano explosion")
    assert {name: split.filenames for name, split in annotations.splits.items()} == {
        "train": ("a-_1",), "val": ("b", "c"), "test": ("d",),
    }  # fmt: skip
    assert annotations.unseen == {"c", "d"}
    labels = annotations.segment_labels(annotations.split("train"), 10)
    np.testing.assert_array_equal(labels.audio[0, :, 0].astype(int), [0, 1, 1, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(labels.audio, labels.visual)
    # A clip without a second of its class is background: it has no class.
    np.testing.assert_array_equal(annotations.split("val").labels.astype(int), [[0, 0, 0], [0, 0, 1]])
    targets = annotated_targets(annotations, annotations.split("val"), [10, 10])
    np.testing.assert_array_equal(targets.segments, [[3] * 10, [2] * 10])


def test_the_list_of_classes_gives_their_order_and_other_is_none_of_them(tmp_path: Path) -> None:
    classes = "volcano explosion\ndog barking\npeople burping\narc welding\nother\n"
    labels = read_annotations(write(tmp_path, classes=classes)).labels
    assert labels == ("volcano explosion", "dog barking", "people burping", "arc welding")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((("dev", "dog", "close", "a"),), ":2: split is 'dev', not one of train, val, test"),
        ((("val", "dog", "unseen", "a"),), ":2: cls_type is 'unseen', not one of close, open"),
        ((("val", "dog", "close", "b"), ("val", "dog", "close", "b")), ":3: 'b' is listed twice"),
        ((("val", "", "close", "b"),), ":2: class '': it is empty"),
        ((("val", "dog", "close"),), ":2: 3 columns, expected 4"),
        ((), "lists no clip"),
    ],
)
def test_faulty_rows_are_named(tmp_path: Path, rows: Any, said: str) -> None:
    with pytest.raises(DatasetError) as error:
        read_annotations(write(tmp_path, rows=rows))
    assert f"{OV_AVE_FILE}{said}" in str(error.value) or said in str(error.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (None, "has no entry"),
        ({"category": "cat", "label": "[0]"}, "category is 'cat', in ovave_dataset_meta.csv 'dog barking'"),
        ({"category": "dog barking", "label": "[0, 2]"}, "label is [0, 2], expected a 0 or a 1 for each second"),
        ({"category": "dog barking", "label": "[]"}, "label has 0 seconds"),
        ({"category": "dog barking", "label": "__import__('os')"}, "'b': "),
        ({"category": "dog barking", "label": [True]}, "expected a 0 or a 1"),
    ],
)
def test_faulty_seconds_are_named(tmp_path: Path, entry: Any, said: str) -> None:
    seconds = {name: value for name, value in {**SECONDS, "b": entry}.items() if value is not None}
    with pytest.raises(DatasetError) as error:
        read_annotations(write(tmp_path, seconds=seconds))
    assert said in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / SECONDS_FILES[0]).unlink()
    with pytest.raises(DatasetError, match=f"lacks {SECONDS_FILES[0]}"):
        read_annotations(tmp_path)
    (tmp_path / SECONDS_FILES[1]).write_text(json.dumps(SECONDS))  # its other name
    assert read_annotations(tmp_path).labels


def test_a_folder_of_two_data_sets_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "AVVP_test_pd.csv").write_text("filename\tevent_labels\nx\tDog\n")
    with pytest.raises(DatasetError, match="two data sets"):
        read_annotations(tmp_path)


def test_two_forms_of_the_same_kind_are_two_data_sets(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / UNAV_FILE).write_text("{}")
    with pytest.raises(DatasetError, match=f"holds {UNAV_FILE} and {OV_AVE_FILE}: two data sets"):
        read_annotations(tmp_path)


def test_a_split_without_clips_is_said_of_the_file_that_lists_them(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path, rows=ROWS[:3]))
    with pytest.raises(DatasetError, match=rf"{OV_AVE_FILE}: lists no clip of the test split$"):
        annotations.split("test")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("dog barking\nother\n", "lacks the class 'people burping'"),
        ("default\n", "class 'default': it stands for all classes"),
    ],
)
def test_a_faulty_list_of_classes_is_named(tmp_path: Path, classes: str, said: str) -> None:
    with pytest.raises(DatasetError) as error:
        read_annotations(write(tmp_path, classes=classes))
    assert f"{CLASS_FILE}: {said}" in str(error.value)
