"""The three steps from scores to labels: thresholds, labels, files and record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.datasets.pseudo_labels import FOLDERS
from avvp.pipeline.datasets.soft_labels import read_soft_labels
from avvp.pipeline.pseudo_labeling.calibrate import choose_thresholds
from avvp.pipeline.pseudo_labeling.prompts import parse_prompts, read_prompts
from avvp.pipeline.pseudo_labeling.threshold_scores import LabelingConfig, decide_labels
from avvp.pipeline.pseudo_labeling.weak_labels import WeakLabels
from avvp.pipeline.pseudo_labeling.write_labels import (
    count_active_seconds,
    label_clips,
    make_labels,
    split_files,
    write_labels,
)
from avvp.pipeline.timeline import SegmentLabels
from support.teachers import CLASSES, PROMPTS

PROMPTS_OF_TWO = parse_prompts(PROMPTS.encode(), "x.toml")  # visual thresholds 0.5 and -1, audio -0.25 and 0.1
BOTH = {"audio_codec": "aac", "video_codec": "h264"}
SILENT = {"audio_codec": None, "video_codec": "h264"}
# (3, 2): Dog, Speech in three seconds
AUDIO = np.array([[1, 1], [-0.25, 1], [-1, -1]], np.float32)
VISUAL = np.array([[0.5, 0], [0.75, -1], [2, -2]], np.float32)
SCORES = {"audio": AUDIO, "visual": VISUAL}
WEAK: WeakLabels = {"one": np.array([True, False]), "two": np.array([True, True])}


def read(_: str) -> Mapping[str, np.ndarray]:
    return SCORES


def columns(table: np.ndarray) -> list[list[int]]:
    return table.T.astype(int).tolist()


def test_a_class_is_active_above_its_threshold() -> None:
    """A score that equals the threshold is not above it."""
    labels = decide_labels(PROMPTS_OF_TWO, SCORES, BOTH, None)
    assert columns(labels.audio) == [[1, 0, 0], [1, 1, 0]]
    assert columns(labels.visual) == [[0, 1, 1], [1, 0, 0]]


def test_weak_labels_and_missing_streams_mask_labels() -> None:
    labels = decide_labels(PROMPTS_OF_TWO, SCORES, SILENT, np.array([False, True]))
    assert columns(labels.audio) == [[0, 0, 0], [0, 0, 0]]
    assert columns(labels.visual) == [[0, 0, 0], [1, 0, 0]]


def test_thresholds_of_the_prompts_stay_without_calibration() -> None:
    config = LabelingConfig(prompts=PROMPTS_OF_TWO, weak=WEAK)
    assert choose_thresholds(config, {"one": BOTH}, read) is PROMPTS_OF_TWO


def test_dense_labels_choose_thresholds() -> None:
    """Dog is active in seconds 0 and 1 of both modalities, Speech never: it keeps its thresholds."""
    truth = np.array([[1, 0], [1, 0], [0, 0], [1, 1]], bool)  # a second more than there are scores
    config = LabelingConfig(
        prompts=PROMPTS_OF_TWO, weak=WEAK, calibration="dense", dense={"one": SegmentLabels(truth, truth)}
    )
    chosen = choose_thresholds(config, {"one": BOTH, "two": BOTH}, read)
    assert chosen.audio_thresholds == ((-0.25 - 1) / 2, 0.1)
    assert chosen.visual_thresholds == (0.5 - 0.5, -1)  # half below the lowest score: all active has F1 0.8


def test_scores_of_clips_that_have_the_class_choose_thresholds() -> None:
    config = LabelingConfig(prompts=PROMPTS_OF_TWO, weak={"one": WEAK["one"]}, calibration="distribution")
    chosen = choose_thresholds(config, {"one": SILENT, "two": BOTH}, read)
    assert 0.75 < chosen.visual_thresholds[0] < 2
    assert (chosen.visual_thresholds[1], chosen.audio_thresholds) == (-1, (-0.25, 0.1))


def test_clips_without_weak_labels_get_no_labels() -> None:
    scored = {"new": BOTH, "one": BOTH, "two": BOTH}
    config = LabelingConfig(prompts=PROMPTS_OF_TWO, weak=WEAK)
    assert list(label_clips(config, PROMPTS_OF_TWO, scored, read)) == ["one", "two"]
    assert list(label_clips(LabelingConfig(prompts=PROMPTS_OF_TWO), PROMPTS_OF_TWO, scored, read)) == [*scored]


def test_active_seconds_are_counted_by_class() -> None:
    labels = {name: decide_labels(PROMPTS_OF_TWO, SCORES, BOTH, weak) for name, weak in WEAK.items()}
    counts = {"audio": {"Dog": 2, "Speech": 2}, "visual": {"Dog": 4, "Speech": 1}}
    assert count_active_seconds(CLASSES, labels) == counts
    assert count_active_seconds(CLASSES, {})["audio"] == {"Dog": 0, "Speech": 0}


def test_a_training_split_has_the_weak_labels_or_the_active_classes() -> None:
    nothing = np.zeros((3, 2), bool)
    speech = np.array([[0, 0], [0, 1], [0, 0]], bool)
    labels = {"one": SegmentLabels(nothing, nothing), "two": SegmentLabels(nothing, speech)}
    with_weak = split_files(LabelingConfig(prompts=PROMPTS_OF_TWO, weak=WEAK), CLASSES, labels)
    assert with_weak["AVVP_train.csv"] == b"filename\tevent_labels\none\tDog\ntwo\tDog,Speech\n"
    without = split_files(LabelingConfig(prompts=PROMPTS_OF_TWO), CLASSES, labels)
    assert without["AVVP_train.csv"] == b"filename\tevent_labels\none\t\ntwo\tSpeech\n"
    assert without["labels.txt"] == b"Dog\nSpeech\n"
    valor = read_prompts()
    assert list(split_files(LabelingConfig(prompts=valor), valor.labels, {})) == ["AVVP_train.csv"]


def test_files_and_record_of_written_labels(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    config = LabelingConfig(prompts=PROMPTS_OF_TWO, weak=WEAK, data_set=True, notes=("a note",))
    labels = {name: decide_labels(PROMPTS_OF_TWO, SCORES, BOTH, weak) for name, weak in WEAK.items()}
    first = write_labels(storage, config, PROMPTS_OF_TWO, labels, {"program": "avvp"})
    assert (first.removed, first.notes) == (frozenset(), ())
    np.testing.assert_array_equal(np.load(tmp_path / FOLDERS["audio"] / "two.npy"), labels["two"].audio)
    record = json.loads((tmp_path / "pseudo_labels.json").read_text())
    assert [*record] == [
        "program", "origin", "prompts", "thresholds", "weak_labels", "clips", "active_seconds", "notes", "wrote",
        "labelled", "review",
    ]  # fmt: skip
    assert record["prompts"] == {
        "labels": ["Dog", "Speech"],
        "seen": ["A photo of a dog.", "A photo of people talking."],
        "heard": ["This is a sound of dog", "This is a sound of speech"],
        "seen_threshold": [0.5, -1],
        "heard_threshold": [-0.25, 0.1],
    }
    assert (record["notes"], record["labelled"]) == (["a note"], ["one", "two"])
    assert sorted(record["wrote"]) == ["AVVP_train.csv", "labels.txt", "prompts.toml"]
    second = write_labels(storage, config, PROMPTS_OF_TWO, {"two": labels["two"]}, {})
    assert second.removed == {"one"}
    assert not (tmp_path / FOLDERS["audio"] / "one.npy").exists()


def test_the_steps_together(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    for teacher, table in (("CLAP", AUDIO), ("CLIP", VISUAL)):
        (tmp_path / teacher / "scores").mkdir(parents=True)
        for name in ("one", "two"):
            np.save(tmp_path / teacher / "scores" / f"{name}.npy", table)
    config = LabelingConfig(prompts=PROMPTS_OF_TWO, weak={"one": WEAK["one"]}, calibration="distribution")
    summary = make_labels(storage, config, {"one": BOTH, "two": BOTH}, {})
    assert summary == "1 clips have pseudo labels; 1 others have scores alone"
    assert json.loads((tmp_path / "pseudo_labels.json").read_text())["thresholds"] == "distribution"
    chosen = read_prompts(tmp_path / "prompts.toml")
    expected = decide_labels(chosen, SCORES, BOTH, WEAK["one"])
    np.testing.assert_array_equal(np.load(tmp_path / FOLDERS["visual"] / "one.npy"), expected.visual)


def test_soft_labels_are_read_from_what_a_run_leaves(tmp_path: Path) -> None:
    """Half where a score is at its threshold; nothing of a stream that the file does not have."""
    storage = LocalStorage(tmp_path)
    for teacher, table in (("CLAP", AUDIO), ("CLIP", VISUAL)):
        (tmp_path / teacher / "scores").mkdir(parents=True)
        for name in ("one", "two"):
            np.save(tmp_path / teacher / "scores" / f"{name}.npy", table)
    make_labels(storage, LabelingConfig(prompts=PROMPTS_OF_TWO, weak=WEAK), {"one": BOTH, "two": SILENT}, {})
    weak = np.stack([WEAK["one"], WEAK["two"]])
    soft, problems = read_soft_labels(tmp_path, ["one", "two"], [3, 3], weak, 2.0)
    assert problems == []
    assert soft is not None
    assert soft.audio[0, 1].tolist() == [0.5, 0]  # the score is the threshold; the clip has no Speech
    assert not soft.audio[1].any()
    np.testing.assert_allclose(soft.visual[1, :, 1], 1 / (1 + np.exp((-1 - VISUAL[:, 1]) / 2)), rtol=1e-6)
