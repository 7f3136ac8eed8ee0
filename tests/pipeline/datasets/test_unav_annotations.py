"""Annotations in the form of UnAV-100, features of CLAP and CLIP, and clips with labels per second of all splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.dense_clips import load_dense_clips
from avvp.pipeline.datasets.unav_annotations import UNAV_FILE, read_unav
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.features.packed_store import open_features

DATABASE = {
    "a": {
        "duration": 5.2,
        "subset": "train",
        "annotations": [
            {"segment": [0.5, 2.0], "label": "skiing", "label_id": 1},
            {"segment": [3.01, 5.2], "label": "dog barking", "label_id": 0},
        ],
    },
    "b": {
        "duration": 3,
        "subset": "validation",
        "annotations": [{"segment": [0, 3], "label": "skiing", "label_id": 1}],
    },
    "c": {"duration": 4.0, "subset": "test", "annotations": []},
}


def write(folder: Path, database: Any = None, name: str = UNAV_FILE) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"version": "x", "database": DATABASE if database is None else database}))
    return path


def test_events_take_whole_seconds_and_classes_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "unav")
    for place in (path, path.parent, write(tmp_path / "own", name="mine.json")):
        annotations = read_annotations(place)
        assert annotations.labels == ("dog barking", "skiing")
        assert {name: split.filenames for name, split in annotations.splits.items()} == {
            "train": ("a",), "val": ("b",), "test": ("c",),
        }  # fmt: skip
        assert annotations.seconds == {"a": 6, "b": 3, "c": 4}
        labels = annotations.segment_labels(annotations.split("train"), 6)
        np.testing.assert_array_equal(labels.audio[0].T.astype(int), [[0, 0, 0, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
        np.testing.assert_array_equal(labels.visual, labels.audio)
        np.testing.assert_array_equal(annotations.split("train").labels, [[True, True]])
        assert not annotations.split("test").labels.any()


def test_classes_without_numbers_are_in_alphabetical_order(tmp_path: Path) -> None:
    events = [{"segment": [0, 1], "label": label} for label in ("b", "c", "a")]
    database = {"v": {"duration": 1, "subset": "training", "annotations": events}}
    assert read_unav(write(tmp_path, database)).labels == ("a", "b", "c")


def changed(path: str, value: Any) -> dict[str, Any]:
    database = json.loads(json.dumps(DATABASE))
    *keys, last = (int(key) if key.isdigit() else key for key in path.split("."))
    place = database
    for key in keys:
        place = place[key]
    place[last] = value
    return database


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("a.subset", "dev", "'a': subset is 'dev', not one of train, validation, test"),
        ("a.subset", None, "subset is None"),
        ("a.duration", -1, "duration is -1"),
        ("a.duration", 1e9, "duration is 1000000000.0"),
        ("a.duration", "5", "duration is '5'"),
        ("a.annotations", 3, "annotations is 3, expected a list"),
        ("a.annotations.0", 3, "an event is 3"),
        ("a.annotations.0.label", 3, "an event is"),
        ("a.annotations.0.segment", [1], r"segment is \[1\], expected"),
        ("a.annotations.0.segment", [3, 1], "its end is before its start"),
        ("a.annotations.0.segment", [0, True], "segment is True"),
        ("a.annotations.0.label_id", 0, "class 'skiing' has the numbers 0 and 1"),
        ("a.annotations.1.label_id", 1, "not different whole numbers"),
        ("a.annotations.1.label_id", "x", "not different whole numbers"),
        ("a.annotations.1.label", "tab\there", "it contains a tab"),
        ("a", 3, "'a': is 3, expected a table"),
        ("new\nline", {"duration": 1, "subset": "train"}, "not a name that a clip"),
    ],
)
def test_invalid_entries(tmp_path: Path, path: str, value: Any, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read_annotations(write(tmp_path, changed(path, value)))


@pytest.mark.parametrize("content", ["", "[]", '{"database": {}}', '{"database": 3}', '{"database": {"a": NaN}}'])
def test_other_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DatasetError, match=r"x\.json"):
        read_annotations(tmp_path / "x.json")


def test_two_data_sets_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "AVVP_train.csv").write_text("filename\tevent_labels\na\tDog\n")
    with pytest.raises(DatasetError, match="two data sets"):
        read_annotations(tmp_path)


def save_features(root: Path, lengths: dict[str, int], layout: str = "{}/features") -> Path:
    for name, width in (("CLAP", 3), ("CLIP", 5)):
        folder = root / layout.format(name)
        folder.mkdir(parents=True)
        for clip, length in lengths.items():
            np.save(folder / f"{clip}.npy", np.full((length, width), len(clip), np.float32))
    return root


@pytest.mark.parametrize("layout", ["{}/features", "feats_{}/segment_feats"])
def test_saved_features_are_read(tmp_path: Path, layout: str) -> None:
    features = open_features(save_features(tmp_path / "saved", {"a": 6, "b": 3}, layout))
    assert (features.spec.streams, features.spec.dims) == (("audio", "visual_2d"), (3, 5))
    assert features.lengths(["a", "b"]) == ({"a": 6, "b": 3}, [])
    assert features.read("a").shape == (6, 8)


def test_unusable_saved_features(tmp_path: Path) -> None:
    root = save_features(tmp_path / "saved", {"a": 6})
    np.save(root / "CLAP/features/a.npy", np.zeros(6, np.float32))
    with pytest.raises(DatasetError, match=r"shape \(6,\), expected \(T, width\)"):
        open_features(root)
    (root / "CLAP/features/a.npy").unlink()
    with pytest.raises(DatasetError, match="holds no features"):
        open_features(root)


def test_clips_of_train_have_labels_per_second(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path / "unav"))
    clips = load_dense_clips(annotations, "train", open_features(save_features(tmp_path / "saved", {"a": 5})))
    batch = clips.batch([0])
    assert [tuple(features.shape) for features in batch.features] == [(1, 5, 3), (1, 5, 5)]
    assert clips.segment_labels.audio[0, :, 0].tolist() == [False, False, False, True, True]


def test_rows_must_be_seconds(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path / "unav"))
    features = open_features(save_features(tmp_path / "saved", {"a": 48}))
    with pytest.raises(DatasetError, match="a: its features have 48 rows, but it lasts 6 s"):
        load_dense_clips(annotations, "train", features)


def test_weak_labels_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "llp"
    folder.mkdir()
    (folder / "AVVP_train.csv").write_text("filename\tevent_labels\none\tDog\ntwo\tDog\nthree\t\n")
    (folder / "AVVP_eval_audio.csv").write_text("filename\tonset\toffset\tevent_labels\none\t0\t1\tDog\n")
    (folder / "AVVP_eval_visual.csv").write_text("filename\tonset\toffset\tevent_labels\n")
    features = open_features(save_features(tmp_path / "saved", {"one": 2, "two": 2, "three": 2}))
    with pytest.raises(DatasetError, match="two: has classes, but no events with times") as caught:
        load_dense_clips(read_annotations(folder), "train", features)
    assert "one:" not in str(caught.value)
    assert "three:" not in str(caught.value)


def test_times_of_events_are_kept_as_they_are_annotated(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path))
    assert annotations.spans == {"a": ((0.5, 2.0, 1), (3.01, 5.2, 0)), "b": ((0, 3, 1),)}
