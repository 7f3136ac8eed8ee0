"""Splits with features and labels: which file is which clip's, batches of any lengths, problems together."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.losses import Targets
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clip_names import clip_id, find_ids
from avvp.pipeline.datasets.clips import SplitDataset, check_values, load_clips
from avvp.pipeline.datasets.loader import iterate_batches, shuffled
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.features.packing import pack_features
from support.llp_like import Recipe, Truth, generate

LABELS = ("Dog", "Speech", "Car")


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, dict[str, Truth]]:
    truths = generate(tmp_path, Recipe({"train": 7, "val": 3, "test": 4}, labels=LABELS, dims=(3, 5, 4)))
    return tmp_path, truths


def clips_of(root: Path, split: str, *, pseudo: bool = False) -> SplitDataset:
    features = open_features(root / "features")
    folder = root / "pseudo_labels" if pseudo else None
    return load_clips(read_annotations(root / "annotations"), split, features, pseudo_labels=folder)


def test_clip_id_matches_features() -> None:
    assert clip_id("BjCEufrlXm4_20_30") == "BjCEufrlXm4"
    assert clip_id("a_1_b_20_30") == "a_1_b"
    assert clip_id("holiday") == "holiday"
    assert find_ids(["talk_0_10", "talk_10_20"], frozenset({"talk_0_10", "talk_10_20"})) == (
        ["talk_0_10", "talk_10_20"],
        [],
    )
    _, problems = find_ids(["talk_0_10", "talk_10_20"], frozenset({"talk"}))
    assert problems == ["talk_0_10 and talk_10_20 would share the features talk; name the features like the clips"]


def test_split_dataset_has_its_labels(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    clips = clips_of(root, "test")
    audio, visual = clips.segment_labels
    np.testing.assert_array_equal(audio, truths["test"].audio)
    np.testing.assert_array_equal(visual, truths["test"].visual)
    np.testing.assert_array_equal(clips.video_labels, truths["test"].video)
    with pytest.raises(ValueError, match="no labels per second"):
        _ = clips_of(root, "train").segment_labels


def test_pseudo_labels_are_for_training_alone(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    audio, _ = clips_of(root, "train", pseudo=True).segment_labels
    agreement = (audio == truths["train"].audio).mean()
    assert 0.9 < agreement < 1
    with pytest.raises(ValueError, match="pseudo labels are for training, not for test"):
        clips_of(root, "test", pseudo=True)


def test_split_dataset_batch(data: tuple[Path, dict[str, Truth]]) -> None:
    clips = clips_of(data[0], "train", pseudo=True)
    batch = clips.batch([3, 0])
    assert [part.shape for part in batch.features] == [(2, 10, 3), (2, 10, 5), (2, 10, 4)]
    assert batch.lengths is None
    assert batch.filenames == (clips.filenames[3], clips.filenames[0])
    frames = np.load(data[0] / "features" / "resnet_tiny" / f"{clips.ids[3]}.npy")
    np.testing.assert_allclose(batch.features[1][0], frames.reshape(10, 8, 5).mean(1), rtol=1e-6)
    assert isinstance(batch.targets, Targets)
    assert batch.targets.audio_segments is not None
    assert batch.targets.audio_segments.dtype == torch.float32


def shorten(root: Path, name: str, seconds: int) -> None:
    for folder, rate in (("vggish_tiny", 1), ("resnet_tiny", 8), ("r2plus1d_tiny", 1)):
        path = root / "features" / folder / f"{name}.npy"
        np.save(path, np.load(path)[: seconds * rate])


def test_clips_of_different_lengths_are_padded(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    names = [clip_id(name) for name in truths["test"].filenames]
    shorten(root, names[1], 4)
    clips = clips_of(root, "test")
    assert clips.lengths.tolist() == [10, 4, 10, 10]
    batch = clips.batch([1, 0])
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [4, 10]
    assert batch.features[0][0, 4:].eq(0).all()
    audio, _ = clips.segment_labels
    assert not audio[1, 4:].any()  # labels past the end are no labels
    short = clips.batch([1])
    assert short.features[0].shape == (1, 4, 3)
    assert short.lengths is None


def test_problems_of_a_split_are_listed_together(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    first, second = (clip_id(name) for name in truths["train"].filenames[:2])
    (root / "features" / "resnet_tiny" / f"{first}.npy").unlink()
    np.save(root / "features" / "vggish_tiny" / f"{second}.npy", np.zeros((10, 9), np.float32))
    with pytest.raises(DatasetError) as error:
        clips_of(root, "train")
    assert str(error.value).startswith("the train split cannot be used:"), "each clip has some features"
    assert f"{first}.npy: no such file" in str(error.value)
    assert f"{second}.npy: shape (10, 9), expected (T, 3)" in str(error.value)


def test_clips_without_features_are_counted(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    for name in truths["val"].filenames[:2]:
        for path in (root / "features").glob(f"*/{clip_id(name)}.npy"):
            path.unlink()
    count = f"(2 of {len(truths['val'].filenames)} clips have no features; leave them out of the annotations):"
    with pytest.raises(DatasetError) as error:
        clips_of(root, "val")
    assert str(error.value).splitlines()[0] == f"the val split cannot be used {count}"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((9, 3)), r"shape \(9, 3\), expected \(10, 3\)"),
        (np.zeros((10, 25)), r"shape \(10, 25\), expected \(10, 3\)"),
        (np.full((10, 3), 0.5), "other values than 0 and 1"),
        (np.full((10, 3), "x"), "other values than 0 and 1"),
    ],
)
def test_pseudo_labels_that_do_not_fit(data: tuple[Path, dict[str, Truth]], labels: np.ndarray, message: str) -> None:
    root, truths = data
    name = clip_id(truths["train"].filenames[0])
    np.save(root / "pseudo_labels" / "CLIP" / "segment_pseudo_labels" / f"{name}.npy", labels)
    with pytest.raises(DatasetError, match=message):
        clips_of(root, "train", pseudo=True)


def test_pseudo_labels_that_are_missing(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    folder = root / "pseudo_labels" / "CLAP" / "segment_pseudo_labels"
    (folder / f"{clip_id(truths['train'].filenames[2])}.npy").unlink()
    with pytest.raises(DatasetError, match=r"no such file"):
        clips_of(root, "train", pseudo=True)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(DatasetError, match="no such folder of audio pseudo labels"):
        clips_of(root, "train", pseudo=True)


def test_values_are_checked_when_asked(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    name = clip_id(truths["val"].filenames[1])
    rows = np.zeros((10, 3), np.float32)
    rows[4, 1] = np.nan
    np.save(root / "features" / "vggish_tiny" / f"{name}.npy", rows)
    counted: list[int] = []
    problems = check_values(clips_of(root, "val"), lambda done, _total: counted.append(done))
    assert counted == [1, 2, 3]
    assert len(problems) == 1
    assert check_values(clips_of(root, "test")) == []
    assert f"{name}.npy: contains NaN or infinity" in problems[0]


@pytest.mark.parametrize("packed", [False, True])
def test_batches_come_in_order_from_any_thread(data: tuple[Path, dict[str, Truth]], packed: bool) -> None:
    root = data[0]
    if packed:
        pack_features(FeatureFolders(root / "features"), root / "store")
    features = open_features(root / ("store" if packed else "features"))
    clips = load_clips(read_annotations(root / "annotations"), "train", features)
    order = shuffled(len(clips), seed=3, epoch=0)
    batches = list(iterate_batches(clips, order, 3))
    assert [len(batch.filenames) for batch in batches] == [3, 3, 1]
    assert [name for batch in batches for name in batch.filenames] == [clips.filenames[index] for index in order]
    torch.testing.assert_close(batches[1].features[0], clips.batch(order[3:6]).features[0])


def test_iterate_batches_stops_reading_when_closed(data: tuple[Path, dict[str, Truth]]) -> None:
    clips = clips_of(data[0], "train")
    read: list[str] = []
    original = clips.features.read
    clips.features.read = lambda clip_id: (read.append(clip_id), original(clip_id))[1]
    batches = iterate_batches(clips, [0] * 500, 1)
    next(batches)
    assert isinstance(batches, Generator)
    batches.close()
    assert 1 <= len(read) < 20


def test_the_order_follows_from_seed_and_epoch() -> None:
    assert sorted(shuffled(20, 1, 0)) == list(range(20))
    assert shuffled(20, 1, 0).tolist() == shuffled(20, 1, 0).tolist()
    assert shuffled(20, 1, 0).tolist() != shuffled(20, 1, 1).tolist()
    assert shuffled(20, 1, 0).tolist() != shuffled(20, 2, 0).tolist()
