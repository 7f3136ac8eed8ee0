"""The data set that tests of localizers are trained and scored on: it is readable, and it is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.features.packed_store import open_features
from support.ave_like import AveLike, write_ave_like

CLIPS = {"train": 40, "val": 8, "test": 12, "noisy": 5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AveLike:
    return write_ave_like(tmp_path_factory.mktemp("ave"), clips=CLIPS, classes=4, visual_dim=8, seed=3)


def read_features(made: AveLike, split: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, T, 128) and (N, T, 7, 7, D)."""
    source = open_features(made.features)
    rows = np.stack([source.read(name) for name in made.names[split]])
    return rows[..., :128], rows[..., 128:].reshape(*rows.shape[:2], 7, 7, -1)


def test_the_truth_is_what_is_annotated(made: AveLike) -> None:
    annotations = read_annotations(made.annotations)
    assert (annotations.task, annotations.labels, annotations.notes) == ("avel", made.labels, ())
    for split in ("train", "val", "test"):
        clips = annotations.split(split)
        assert clips.filenames == made.names[split]
        labels = annotations.segment_labels(clips, 10).audio
        expected = np.arange(4) == made.truth[split][..., None]
        np.testing.assert_array_equal(labels, expected)
    assert annotations.split("noisy").filenames == made.names["noisy"]
    assert (made.truth["noisy"] == 4).all()


def test_the_store_has_maps_of_the_task(made: AveLike) -> None:
    source = open_features(made.features)
    assert (source.spec.streams, source.spec.dims) == (("audio", "visual_map"), (128, 49 * 8))
    audio, maps = read_features(made, "train")
    assert (audio.shape, maps.shape) == ((40, 10, 128), (40, 10, 7, 7, 8))
    assert min(audio.min(), maps.min()) == 0


def test_events_have_the_sound_and_the_sight_of_their_class(made: AveLike) -> None:
    """In the events, the nearest class mean of the sound names the class, and one place of the map stands out."""
    audio, _ = read_features(made, "train")
    truth = made.truth["train"]
    means = np.stack([audio[truth == index].mean(axis=0) for index in range(4)])
    test_audio, test_maps = read_features(made, "test")
    test = made.truth["test"]
    nearest = np.linalg.norm(test_audio[..., None, :] - means, axis=-1).argmin(axis=-1)
    assert (nearest == test)[test < 4].mean() > 0.95
    brightness = test_maps.sum(axis=-1).reshape(*test.shape, 49)
    contrast = brightness.max(axis=-1) / np.median(brightness, axis=-1)
    assert np.median(contrast[test < 4]) > 1.8


def test_the_same_seed_gives_the_same_files(made: AveLike, tmp_path: Path) -> None:
    again = write_ave_like(tmp_path, clips=CLIPS, classes=4, visual_dim=8, seed=3)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        assert (tmp_path / path).read_bytes() == (made.annotations.parent / path).read_bytes()
    other = write_ave_like(tmp_path / "other", clips={"train": 40}, classes=4, visual_dim=8, seed=4)
    assert (other.truth["train"] != made.truth["train"]).any()
    assert again.names == made.names
