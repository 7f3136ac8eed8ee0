"""Soft labels of a training split: values, what has none, and files that cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from avvp.models.losses import Targets
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import SplitDataset, load_clips
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.features.packed_store import open_features
from support.run_folders import LABELS, write_data
from support.soft_scores import THRESHOLDS, write_scores


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def load(data: Path, temperature: float | None = 2.0) -> SplitDataset:
    return load_clips(
        read_annotations(data / "annotations"), "train", open_features(data / "features"),
        pseudo_labels=data / "pseudo_labels", soft_temperature=temperature,
    )  # fmt: skip


def test_values(data: Path) -> None:
    root = data / "pseudo_labels"
    write_scores(root, LABELS)
    clips = load(data)
    assert clips.soft is not None
    name, weak = clips.ids[2], clips.video_labels[2]
    scores = np.load(root / "CLAP" / "scores" / f"{name}.npy")
    expected = weak / (1 + np.exp((THRESHOLDS["audio"] - scores) / 2))
    np.testing.assert_allclose(clips.soft.audio[2], expected, atol=1e-6)
    sharper = load(data, temperature=0.5).soft
    assert sharper is not None
    own = float(scores[0, weak.argmax()])
    assert sharper.audio[2, 0, weak.argmax()] == pytest.approx(1 / (1 + math.exp((THRESHOLDS["audio"] - own) / 0.5)))
    # What is labelled has more than half, what is not has less.
    assert ((clips.soft.visual > 0.5) == clips.segment_labels.visual).all()


def test_a_batch_has_them_with_frequencies(data: Path) -> None:
    write_scores(data / "pseudo_labels", LABELS)
    clips = load(data)
    targets = clips.batch([3, 1]).targets
    assert isinstance(targets, Targets)
    assert clips.soft is not None
    assert targets.visual_soft is not None
    assert targets.audio_frequency is not None
    np.testing.assert_array_equal(targets.visual_soft.numpy(), clips.soft.visual[[3, 1]])
    by_hand = clips.segment_labels.audio.mean(axis=(0, 1))
    np.testing.assert_allclose(targets.audio_frequency.numpy(), by_hand, rtol=1e-6)
    without = load(data, None).batch([3]).targets
    assert isinstance(without, Targets)
    assert without.audio_soft is None


def test_a_clip_without_the_stream_has_none(data: Path) -> None:
    first = load(data, None).ids[0]
    write_scores(data / "pseudo_labels", LABELS, missing=[first])
    soft = load(data).soft
    assert soft is not None
    assert not soft.visual[0].any()
    assert soft.audio[0].any()
    assert soft.visual[1].any()


def test_labels_without_scores(data: Path) -> None:
    with pytest.raises(DatasetError, match="soft targets need the scores and the record that avvp pseudo-label writes"):
        load(data)
    write_scores(data / "pseudo_labels", LABELS)
    (data / "pseudo_labels" / "CLIP" / "scores").rename(data / "moved")
    with pytest.raises(DatasetError, match="scores: no such folder"):
        load(data)


def test_every_damaged_file_is_named(data: Path) -> None:
    write_scores(data / "pseudo_labels", LABELS)
    ids = load(data).ids
    folder = data / "pseudo_labels" / "CLAP" / "scores"
    np.save(folder / f"{ids[0]}.npy", np.zeros((3, len(LABELS)), np.float32))
    np.save(folder / f"{ids[1]}.npy", np.full((10, len(LABELS)), np.nan, np.float32))
    (folder / f"{ids[2]}.npy").unlink()
    (folder / f"{ids[3]}.npy").write_bytes(b"not an array")
    with pytest.raises(DatasetError) as error:
        load(data)
    for text in ("shape (3, 3), expected (10, 3)", "other values than finite numbers", "no such file", ids[3]):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("heard_threshold", [1.0]),
        ("seen_threshold", "high"),
        ("heard_threshold", [1e39, 0, 0]),
        ("seen_threshold", None),
    ],
)
def test_a_record_without_usable_thresholds(data: Path, key: str, value: object) -> None:
    write_scores(data / "pseudo_labels", LABELS)
    path = data / "pseudo_labels" / "pseudo_labels.json"
    record = json.loads(path.read_text())
    record["prompts"][key] = value
    path.write_text(json.dumps(record))
    with pytest.raises(DatasetError, match=f"its {key} is not a list of 3 numbers"):
        load(data)
