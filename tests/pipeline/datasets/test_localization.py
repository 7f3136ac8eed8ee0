"""Targets of event localization, against numbers computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.localization import annotated_targets, describe_targets, find_event_targets
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.timeline import SegmentLabels
from support.golden import GOLDEN, needs_golden


def table(clips: int, classes: int, *events: tuple[int, int, int, int], seconds: int = 6) -> np.ndarray:
    """(N, T, C) with events (clip, class, onset, offset)."""
    labels = np.zeros((clips, seconds, classes), bool)
    for clip, label, onset, offset in events:
        labels[clip, onset:offset, label] = True
    return labels


def test_labels_of_the_golden_values() -> None:
    """`../shared/golden/README-avel.md`: (class, start, end) of four clips, of 28 classes and 10 seconds."""
    events = ((0, 3, 2, 7), (1, 0, 0, 10), (2, 27, 9, 10), (3, 14, 0, 0))
    labels = table(4, 28, *events, seconds=10)
    targets = find_event_targets(SegmentLabels(labels, labels), [10] * 4)
    assert targets.segments.tolist() == [
        [28, 28, 3, 3, 3, 3, 3, 28, 28, 28],
        [0] * 10,
        [28] * 9 + [27],
        [28] * 10,
    ]
    assert targets.video.argmax(axis=1).tolist() == [3, 0, 27, 28]
    assert targets.video.sum(axis=1).tolist() == [1] * 4
    shares = [{3: 0.5, 28: 0.5}, {0: 1}, {27: 0.1, 28: 0.9}, {28: 1}]
    expected = [[part.get(label, 0) for label in range(29)] for part in shares]
    np.testing.assert_allclose(targets.shares, expected, atol=1e-7)
    assert not list(describe_targets(targets, "abcd"))


@needs_golden
def test_targets_of_the_published_programs() -> None:
    labels = table(4, 28, (0, 3, 2, 7), (1, 0, 0, 10), (2, 27, 9, 10), seconds=10)
    published = np.load(GOLDEN / "psp_official.npz")
    targets = find_event_targets(SegmentLabels(labels, labels), [10] * 4)
    np.testing.assert_allclose(targets.shares, published["weak/target"], atol=1e-7)


def test_an_event_is_heard_and_seen() -> None:
    audio = table(1, 2, (0, 0, 0, 4), (0, 1, 5, 6))
    visual = table(1, 2, (0, 0, 2, 6), (0, 1, 0, 3))
    targets = find_event_targets(SegmentLabels(audio, visual), [6])
    assert targets.segments.tolist() == [[2, 2, 0, 0, 2, 2]]
    assert targets.video.tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(targets.shares, [[1 / 3, 0, 2 / 3]])


def test_several_events_at_once() -> None:
    labels = table(
        5,
        3,
        *((0, 0, 0, 3), (0, 2, 2, 6)),  # class 2 has 4 seconds, class 0 has 3: the shared second is of class 2
        *((1, 0, 2, 4), (1, 1, 1, 3)),  # equal counts: class 1 begins first
        *((2, 1, 0, 2), (2, 2, 0, 2)),  # equal in everything: the lower index
        *((3, 0, 0, 1), (3, 2, 4, 6)),  # one after the other
    )
    targets = find_event_targets(SegmentLabels(labels, labels), [6] * 5)
    assert targets.segments.tolist() == [
        [0, 0, 2, 2, 2, 2],
        [3, 1, 1, 0, 3, 3],
        [1, 1, 3, 3, 3, 3],
        [0, 3, 3, 3, 2, 2],
        [3] * 6,
    ]
    assert targets.video.argmax(axis=1).tolist() == [2, 1, 1, 2, 3]
    assert targets.ambiguous.tolist() == [1, 1, 2, 0, 0]
    several, mixed = describe_targets(targets, "abcde")
    assert several.startswith("3 clips (a, b, c) with several classes heard and seen at once: in these 4 seconds,")
    assert mixed.startswith("3 clips (a, b, d) with events of several classes")


def test_seconds_past_the_end_of_a_clip_do_not_count() -> None:
    labels = table(2, 2, (0, 0, 0, 1), (0, 1, 2, 6), (1, 1, 0, 6))
    targets = find_event_targets(SegmentLabels(labels, labels), [3, 6])
    assert targets.segments.tolist() == [[0, 2, 1, 2, 2, 2], [1] * 6]
    assert targets.video.tolist() == [[1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(targets.shares, [[1 / 3] * 3, [0, 1, 0]])


FILES = {
    "labels.txt": "Dog\nSpeech\n",
    "AVVP_train.csv": "filename\tevent_labels\none\tDog\ntwo\t\n",
    "AVVP_val_pd.csv": "filename\tevent_labels\nthree\tDog\n",
    "AVVP_eval_audio.csv": "filename\tonset\toffset\tevent_labels\none\t0\t3\tDog\nthree\t1\t2\tDog\n",
    "AVVP_eval_visual.csv": "filename\tonset\toffset\tevent_labels\none\t1\t9\tDog\nthree\t1\t4\tDog\n",
}


def test_a_data_set_in_the_form_of_llp(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    annotations = read_annotations(tmp_path)
    assert annotations.task == "avvp"
    train = annotated_targets(annotations, annotations.split("train"), [4, 2])
    assert train.segments.tolist() == [[2, 0, 0, 2], [2] * 4]
    val = annotated_targets(annotations, annotations.split("val"), [4])
    assert val.segments.tolist() == [[2, 0, 2, 2]]
    (tmp_path / "AVVP_eval_visual.csv").write_text("filename\tonset\toffset\tevent_labels\nthree\t1\t4\tDog\n")
    annotations = read_annotations(tmp_path)
    with pytest.raises(DatasetError, match=r"AVVP_eval_visual\.csv: has no row of the train clips, .* are seen; add"):
        annotated_targets(annotations, annotations.split("train"), [4, 2])


def test_a_data_set_in_the_form_of_ave(tmp_path: Path) -> None:
    (tmp_path / "Annotations.txt").write_text("Dog&one&good&0&3\nSpeech&one&good&1&4\nDog&two&good&0&0\n")
    (tmp_path / "trainSet.txt").write_text("Dog&two&good&0&0\nSpeech&one&good&1&4\n")
    (tmp_path / "noisySet.txt").write_text("n\n")
    annotations = read_annotations(tmp_path)
    train = annotated_targets(annotations, annotations.split("train"), [4, 4])
    assert train.segments.tolist() == [[2] * 4, [2, 1, 1, 1]]
    noisy = annotated_targets(annotations, annotations.split("noisy"), [3])
    assert (noisy.segments.tolist(), noisy.video.tolist(), noisy.shares.tolist()) == (
        [[2] * 3],
        [[0, 0, 1]],
        [[0, 0, 1]],
    )
