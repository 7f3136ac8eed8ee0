"""Targets of event localization, against numbers computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import load_event_clips
from avvp.pipeline.datasets.localization import annotated_targets, describe_targets, find_event_targets
from avvp.pipeline.datasets.write_annotations import format_events, write_annotations
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.timeline import SegmentLabels
from support.ave_like import AveLike, write_ave_like
from support.command import Run
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
    assert several.startswith("3 clips (a, b, c) with several classes heard and seen at once, 4 s in all: the class")
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
    with pytest.raises(DatasetError, match=r"AVVP_eval_visual\.csv: has no row of the train clips, .* are seen, which"):
        annotated_targets(annotations, annotations.split("train"), [4, 2])


def test_clips_without_an_event_beside_a_data_set_in_the_form_of_llp(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=r"noisySet\.txt: no such file, so there is no noisy split"):
        read_annotations(tmp_path).split("noisy")
    (tmp_path / "noisySet.txt").write_text("n1\nn2\n")
    noisy = read_annotations(tmp_path).split("noisy")
    assert (noisy.filenames, noisy.labels.tolist()) == (("n1", "n2"), [[False, False]] * 2)
    (tmp_path / "noisySet.txt").write_text("one\n")
    with pytest.raises(DatasetError, match="one is in train and in noisy"):
        read_annotations(tmp_path)


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


@pytest.fixture
def ave_like(tmp_path: Path) -> AveLike:
    return write_ave_like(tmp_path, clips={"train": 6, "val": 3, "noisy": 2}, classes=3, visual_dim=2)


def test_clips_of_one_video_share_its_features(ave_like: AveLike) -> None:
    path = ave_like.annotations / "Annotations.txt"
    lines = path.read_text().splitlines()
    label, video, *_ = lines[-1].split("&")
    again = f"{ave_like.labels[0]}&{video}&good&1&3"
    assert label != ave_like.labels[0]
    path.write_text("".join(f"{line}\n" for line in [*lines, again]))
    file = next(file for file in ave_like.annotations.glob("*Set.txt") if video in file.read_text())
    file.write_text(file.read_text() + again + "\n")
    split = {"trainSet.txt": "train", "valSet.txt": "val"}[file.name]
    annotations, features = read_annotations(ave_like.annotations), open_features(ave_like.features)
    clips = load_event_clips(annotations, split, features)
    assert clips.filenames[-1] == f"{video}.2"
    assert clips.ids[-1] == video
    assert clips.event_targets.segments[-1].tolist() == [3, 0, 0, 3, 3, 3, 3, 3, 3, 3]
    first = clips.filenames.index(video)
    batch = clips.batch([first, len(clips) - 1])
    assert all(bool((stream[0] == stream[1]).all()) for stream in batch.features)


def test_targets_and_noisy_clips_of_a_generated_data_set(ave_like: AveLike) -> None:
    annotations, features = read_annotations(ave_like.annotations), open_features(ave_like.features)
    clips = load_event_clips(annotations, "train", features, with_noisy=True)
    assert clips.filenames == (*ave_like.names["train"], *ave_like.names["noisy"])
    np.testing.assert_array_equal(clips.event_targets.segments[:6], ave_like.truth["train"])
    assert (clips.event_targets.segments[6:] == 3).all()
    assert clips.event_targets.video[6:].tolist() == [[0, 0, 0, 1]] * 2


def test_training_names_what_is_ambiguous_in_own_data(run: Run, ave_like: AveLike, tmp_path: Path) -> None:
    """A data set in LLP's form, with features of profile `ave`."""
    folder = tmp_path / "own"
    folder.mkdir()
    tables = {split: find_tables(ave_like, split) for split in ("train", "val")}
    clip = ave_like.names["train"][0]
    tables["train"][clip][0, :2] = True
    write_annotations(folder, ave_like.labels, {
        split: {name: SegmentLabels(table, table) for name, table in part.items()} for split, part in tables.items()
    })  # fmt: skip
    rows = format_events(tables["train"] | tables["val"], ave_like.labels)
    for file in ("AVVP_eval_audio.csv", "AVVP_eval_visual.csv"):
        (folder / file).write_text(rows)
    arguments = ["train", "--check", "--recipe", "psp", "--annotations", folder, "--features", ave_like.features]
    result = run(*arguments, "-o", tmp_path / "run")
    assert result.status == 0, result.err
    assert f"note: train: 1 clip ({clip}) with several classes heard and seen at once, 1 s in all" in result.err
    (folder / "AVVP_eval_audio.csv").write_text(format_events(tables["val"], ave_like.labels))
    result = run(*arguments, "-o", tmp_path / "run")
    assert result.status == 2
    assert "has no row of the train clips, so nothing says when their classes are heard" in result.err


def find_tables(data: AveLike, split: str) -> dict[str, np.ndarray]:
    """Clip -> (T, C), whether the class is the event of the second."""
    classes = np.arange(len(data.labels))
    return {name: row[:, None] == classes for name, row in zip(data.names[split], data.truth[split], strict=True)}


def test_timelines_of_a_video_with_two_clips(run: Run, tmp_path: Path) -> None:
    rows = "Dog&one&good&0&2\nCat&one&good&0&4\nCat&two&good&1&4\n"
    (tmp_path / "ave").mkdir()
    (tmp_path / "events").mkdir()
    (tmp_path / "ave" / "Annotations.txt").write_text(rows)
    (tmp_path / "ave" / "testSet.txt").write_text(rows)
    for name, label, onset in (("one", "Dog", 0), ("two", "Cat", 2)):
        event = {"label": label, "modality": "audio_visual", "onset": onset, "offset": 4}
        document = {"media": {"path": f"{name}.mp4"}, "events": [event]}
        (tmp_path / "events" / f"{name}.events.json").write_text(json.dumps(document))
    result = run("evaluate", "--timelines", tmp_path / "events", "--annotations", tmp_path / "ave", "-f", "json")
    assert result.status == 0, result.err
    # Of one, two seconds are wrong; of its second clip, all; of two, a second of its event is missing.
    assert json.loads(result.out)["scores"]["accuracy"] == pytest.approx(100 * (2 + 0 + 3) / 12)
