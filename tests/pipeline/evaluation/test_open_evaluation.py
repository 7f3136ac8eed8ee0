"""Scores of any classes: from timelines and from an open bundle, and which classes they are of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.named_labels import find_labels
from avvp.pipeline.datasets.unav_annotations import UNAV_FILE
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.evaluation.open_evaluation import detect_timelines, rank_timelines, score_timelines_ov_avel
from avvp.pipeline.evaluation.ov_avel import OvAvelScores, score_ov_avel, unseen_rows
from avvp.pipeline.evaluation.scored_classes import class_names, select_classes
from avvp.pipeline.timeline import MAX_EVENTS, SegmentLabels
from numpy.typing import ArrayLike
from support.command import Result
from support.golden import GOLDEN, needs_golden
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]
ROWS = {
    "AVVP_val_pd.csv": "filename\tevent_labels\na\tred,blue,low_tone\nb\tred\n",
    "AVVP_eval_visual.csv": "filename\tonset\toffset\tevent_labels\na\t0\t3\tred\na\t5\t9\tblue\nb\t3\t8\tred\n",
    "AVVP_eval_audio.csv": "filename\tonset\toffset\tevent_labels\na\t0\t3\tlow_tone\nb\t0\t3\tlow_tone\n",
}


def write_annotations(folder: Path, rows: dict[str, str] = ROWS) -> Path:
    folder.mkdir()
    for name, text in rows.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_annotations(tmp_path_factory.mktemp("data") / "annotations")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_film(folder / "a.mp4", [("red", "low tone", 3), (None, None, 2), ("blue", "high tone", 4)])
    make_film(folder / "b.mp4", [(None, "low tone", 3), ("red", None, 5)])
    return folder


def write_timeline(folder: Path, name: str, events: list[tuple[Any, ...]], **document: Any) -> None:
    folder.mkdir(exist_ok=True)
    keys = ("modality", "label", "onset", "offset", "score")
    rows = [dict(zip(keys, event, strict=True)) for event in events]
    (folder / f"{name}.events.json").write_text(json.dumps({"events": rows, **document}))


# Classes.


def test_classes_are_found_in_any_spelling() -> None:
    find = class_names(("Dog", "low_tone"))
    assert [find(name) for name in ("Dog", "DOG", "low tone", "cat")] == ["Dog", "Dog", "low_tone", "cat"]
    assert class_names(("Dog",), others=True)("cat") is None
    assert class_names(("Dog", "dog"))("dog") == "dog"  # the same name goes before one that is alike


def test_some_classes_are_selected_in_the_order_of_the_user(data_set: Path) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    assert data.labels == ("blue", "low_tone", "red")
    chosen, notes = select_classes(data, ["Red", "yeti", "low tone"])
    assert chosen.labels == ("red", "yeti", "low_tone")
    assert notes == ("1 class (yeti) not annotated", "2 of 3 annotated classes are scored")
    val = chosen.split("val")
    np.testing.assert_array_equal(val.labels.astype(int), [[1, 0, 1], [1, 0, 0]])
    truth = chosen.segment_labels(val, 9)
    np.testing.assert_array_equal(truth.visual.sum(axis=1), [[3, 0, 0], [5, 0, 0]])
    np.testing.assert_array_equal(truth.audio.sum(axis=1), [[0, 0, 3], [0, 0, 3]])
    with pytest.raises(DatasetError, match=r"none of the classes yeti is annotated in .* whose classes are blue, low"):
        select_classes(data, ["yeti"])


def test_without_a_list_classes_are_those_that_files_name_unless_they_are_of_llp(tmp_path: Path) -> None:
    assert find_labels(write_annotations(tmp_path / "own")) == ("blue", "low_tone", "red")
    dogs = {"AVVP_val_pd.csv": "filename\tevent_labels\na\tDog,Spech\n"}  # one is misspelt: said by who reads them
    assert "Speech" in find_labels(write_annotations(tmp_path / "llp", dogs))
    with pytest.raises(DatasetError, match="did you mean Speech"):
        read_annotations(tmp_path / "llp", labels=find_labels(tmp_path / "llp"))


# Timelines.


def test_ranking_takes_the_scores_of_timelines(data_set: Path, tmp_path: Path) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    zeros = [[0.0]] * 9
    red = [[0.9], [0.8], [0.2], [0.5], [0.1], [0], [0], [0], [0]]  # a second before one of the three is not red
    write_timeline(tmp_path, "a", [], labels=["RED"], segments={"audio": zeros, "visual": red})
    write_timeline(tmp_path, "b", [], labels=["RED"], segments={"audio": [[0]] * 8, "visual": [[0]] * 3 + [[0.95]] * 5})
    found = rank_timelines(tmp_path, data, "val").classes["visual"]
    # Right are ranks 1 to 7, and the third of clip a at rank 9 of 17.
    assert found["red"].seconds == 8
    assert found["red"].average_precision == pytest.approx(100 * (7 + 8 / 9) / 8)
    assert found["red"].auroc == pytest.approx(100 * (1 - 1 / (8 * 9)))
    assert found["blue"].auroc == pytest.approx(50)  # its scores are not in the timelines: all 0
    assert rank_timelines(tmp_path, data, "val", classes=["red"]).classes["visual"].keys() == {"red"}


def test_ranking_needs_scores_per_second(data_set: Path, tmp_path: Path) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    for name in ("a", "b"):
        write_timeline(tmp_path, name, [], labels=["red"])
    with pytest.raises(DatasetError, match="no scores per second; 'avvp parse --segments' writes them"):
        rank_timelines(tmp_path, data, "val")


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ({"audio": [[0.1]]}, "no 'visual'"),
        ({"audio": [[0.1, 0.2]], "visual": [[0.1]]}, r"audio scores are \(1, 2\), expected \(T, 1\)"),
        ({"audio": [[7]], "visual": [[0.1]]}, r"audio scores are not all in \[0, 1\]"),
        ({"audio": [[0]], "visual": [[0.1], [0.2]]}, "audio and visual scores are of different lengths"),
        ({"audio": [[0], "x"], "visual": [[0.1]]}, "not a timeline"),
    ],
)
def test_faulty_scores_are_named(data_set: Path, tmp_path: Path, segments: Any, said: str) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    for name in ("a", "b"):
        write_timeline(tmp_path, name, [], labels=["red"], segments=segments)
    with pytest.raises(DatasetError, match=said):
        rank_timelines(tmp_path, data, "val")


def test_detections_are_scored_with_times_as_they_are_annotated(tmp_path: Path) -> None:
    events = [{"segment": [0.5, 2.5], "label": "dog barking"}, {"segment": [60.0, 100.0], "label": "dog barking"}]
    database = {"v": {"duration": 120, "subset": "test", "annotations": events}}
    (tmp_path / UNAV_FILE).write_text(json.dumps({"database": database}))
    data = read_annotations(tmp_path)
    rows = [("audio_visual", "dog barking", 0.5, 2.5, 0.9), ("audio_visual", "dog barking", 60, 80, 0.8)]
    write_timeline(tmp_path / "events", "v", [*rows, ("audio", "dog barking", 7, 8, 1)])
    evaluation = detect_timelines(tmp_path / "events", data, "test")
    assert evaluation.precisions.keys() == {"audio_visual"}  # its events are heard and seen
    np.testing.assert_allclose(evaluation.mean("audio_visual"), [100] * 5 + [50] * 4)  # (60, 80) has IoU .5
    write_timeline(tmp_path / "events", "v", [("audio_visual", "cat", 0, 1, 0.5)])
    with pytest.raises(DatasetError, match="unknown class 'cat'"):
        detect_timelines(tmp_path / "events", data, "test")
    assert not detect_timelines(tmp_path / "events", data, "test", classes=["dog barking"]).mean("audio_visual").any()


@pytest.mark.parametrize(("onset", "score"), [(-1, 0.5), (float("nan"), 0.5), (0, 1.5), (0, float("nan")), ("x", 0.5)])
def test_what_is_no_event_is_refused(data_set: Path, tmp_path: Path, onset: Any, score: float) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    for name in ("a", "b"):
        write_timeline(tmp_path, name, [("visual", "red", onset, 3, score)])
    with pytest.raises(DatasetError, match="not a timeline"):
        detect_timelines(tmp_path, data, "val")


def test_detections_of_unknown_senses_and_too_many_are_refused(data_set: Path, tmp_path: Path) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    for name in ("a", "b"):
        write_timeline(tmp_path, name, [("video", "red", 0, 3, 0.5)])
    with pytest.raises(DatasetError, match="unknown modality 'video'"):
        detect_timelines(tmp_path, data, "val")
    for name in ("a", "b"):
        write_timeline(tmp_path, name, [("visual", "red", 0, 3, 0.5)] * (MAX_EVENTS + 1))
    with pytest.raises(DatasetError, match="more than 100,000 events"):
        detect_timelines(tmp_path, data, "val")


# OV-AVEL's measures.


def labels_of(classes: ArrayLike, count: int) -> SegmentLabels:
    table = np.asarray(classes)[..., None] == np.arange(count)
    return SegmentLabels(table, table)


def scores_of(parts: Mapping[str, tuple[int, OvAvelScores | None]], name: str) -> OvAvelScores:
    scores = parts[name][1]
    assert scores is not None
    return scores


def test_ov_avel_by_hand() -> None:
    truth = labels_of([[0, 0, 2, 2], [1, 1, 1, 1]], 2)  # class 2 is the background
    predicted = labels_of([[0, 2, 2, 2], [0, 1, 1, 1]], 2)
    parts = score_ov_avel(predicted, truth, np.array([False, True]))
    # Clip 1: 3 of 4 seconds; F of class 0 is 2/3, of the background 4/5; runs match at IoU 1/2 and 2/3.
    assert parts["seen"] == (1, pytest.approx((75, 100 * (2 / 3 + 4 / 5) / 2, 100)))
    # Clip 2: class 0 is only predicted: F 0; class 1 has 6/7, and its run IoU 3/4.
    assert parts["unseen"] == (1, pytest.approx((75, 100 * (0 + 6 / 7) / 2, 50)))
    assert scores_of(parts, "total").event == pytest.approx(75)
    assert score_ov_avel(predicted, truth, np.array([False, False]))["unseen"] == (0, None)


@needs_golden
@pytest.mark.parametrize("name", ["v0", "v1"])
def test_ov_avel_is_that_of_the_published_program(name: str) -> None:
    arrays, facts = np.load(GOLDEN / "ovavel.npz"), json.loads((GOLDEN / "ovavel.json").read_text())[name]
    truth = np.where(arrays["truth/on"].astype(bool), arrays["truth/class"][:, None], 67)
    if name == "v1":
        predicted = arrays["v1/decision"]
    else:
        predicted = np.where(arrays["v0/is_event"].astype(bool), arrays["v0/class"][:, None], 67)
    parts = score_ov_avel(labels_of(predicted, 67), labels_of(truth, 67), np.zeros(24, bool))
    expected = 100 * np.array([facts["accuracy"], *facts["f1"]])
    # One class a clip: `find_event_targets` changes nothing where seconds have one class each.
    np.testing.assert_allclose(scores_of(parts, "total"), expected, atol=1e-6)


def test_classes_that_no_training_clip_has_are_unseen(tmp_path: Path) -> None:
    rows = {
        "AVVP_train.csv": "filename\tevent_labels\nx\tred\n",
        "AVVP_val_pd.csv": "filename\tevent_labels\na\tred\nb\tblue\nc\t\n",
        "labels.txt": "red\nblue\n",
    }
    data = read_annotations(write_annotations(tmp_path / "annotations", rows))
    np.testing.assert_array_equal(unseen_rows(data, "val"), [False, True, False])


def test_ov_avel_of_timelines(data_set: Path, tmp_path: Path) -> None:
    data = read_annotations(data_set, labels=find_labels(data_set))
    for name in ("a", "b"):
        write_timeline(tmp_path, name, [("audio_visual", "red", 0, 3, 0.5)])
    evaluation = score_timelines_ov_avel(tmp_path, data, "val")
    # Nothing is heard and seen in these clips.
    assert scores_of(evaluation.parts, "total").accuracy == pytest.approx(100 * 6 / 9)


# The command.


def test_an_open_bundle_is_scored_on_features(
    run: Run, bundle: Path, clips: Path, data_set: Path, tmp_path: Path
) -> None:
    assert run("extract", clips, "--weights", bundle, *TRUST, "-o", tmp_path / "features").status == 0
    data = ("--features", tmp_path / "features", "--annotations", data_set, "--split", "val", "-f", "json")
    network = ("evaluate", "--weights", bundle, *TRUST, "--classes", "low tone, red, blue", *data)
    result = run(*network)
    assert result.status == 0, result.err
    document = json.loads(result.out)
    assert document["scores"]["mean"] == 100
    document = json.loads(run(*network, "--metrics", "ranking", "--per-class").out)
    assert document["means"]["visual"] == {"seconds": 12, "average_precision": 100, "auroc": 100}
    assert document["classes"]["audio"]["low_tone"]["average_precision"] == 100
    # Above every score, nothing is found.
    document = json.loads(run(*network, "--threshold", "1").out)
    assert document["scores"]["segment"]["visual"] == 0
    result = run(*network, "--metrics", "ov-avel")
    assert result.status == 0, result.err
    assert json.loads(result.out)["parts"]["seen"]["clips"] == 2


def test_thresholds_per_video_are_refused(run: Run, bundle: Path, clips: Path, data_set: Path, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[visual.video]\ndefault = 0.9\n")
    classes = ("--weights", bundle, *TRUST, "--classes", "red", "--thresholds", tmp_path / "t.toml")
    result = run("evaluate", *classes, "--features", clips, "--annotations", data_set, "--split", "val")
    assert result.status == 2
    assert "t.toml: visual.video is not for classes by their names" in result.err


def test_timelines_of_an_open_bundle_are_scored(
    run: Run, bundle: Path, clips: Path, data_set: Path, tmp_path: Path
) -> None:
    found = ("--classes", "red, violet", "--output-dir", tmp_path / "events", "--segments", "--quiet")
    assert run("parse", clips, "--weights", bundle, *TRUST, *found).status == 0
    data = ("evaluate", "--timelines", tmp_path / "events", "--annotations", data_set, "--split", "val")
    document = json.loads(run(*data, "-f", "json").out)
    assert document["scores"]["segment"]["visual"] == pytest.approx(75)  # blue of clip a is missed
    document = json.loads(run(*data, "-f", "json", "--classes", "Red").out)
    assert document["scores"]["segment"]["visual"] == 100
    assert document["notes"] == ["1 of 3 annotated classes are scored"]
    result = run(*data, "--metrics", "ranking", "--per-class")
    assert result.status == 0
    assert "ranking of the seconds" in result.out and "red" in result.out
    result = run(*data, "--metrics", "detection", "--per-class", "--classes", "red")
    assert result.status == 0
    assert "events as detections" in result.out
    result = run(*data, "--metrics", "ov-avel")
    assert result.status == 0
    assert "unseen (0)" in result.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--classes", "red", "--metrics", "detection", "--features", "."), "--metrics detection is for --timelines"),
        (("--pseudo-labels", ".", "--metrics", "ranking"), "--pseudo-labels have no --metrics ranking"),
        (("--pseudo-labels", ".", "--classes", "red"), "--classes is for --timelines and open bundles"),
        (("--classes", "red"), "--weights needs --features"),
        (("--classes", "red", "--features", ".", "--tune-thresholds", "t.toml"), "avvp calibrate chooses"),
        (("--weights", "demo", "--classes", "red", "--features", "."), "the classes of bundle 'demo' are those"),
        (("--timelines", ".", "--classes", "red", "--rule", "fixed"), "--rule goes with --weights of an open bundle"),
        (("--classes", "red", "--features", ".", "--metrics", "ranking", "--threshold", "0.9"), "has no thresholds"),
        (("--timelines", ".", "--metrics", "ov-avel", "--per-class"), "has no scores of single classes"),
    ],
)
def test_options_that_do_not_go_together(run: Run, data_set: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run("evaluate", "--annotations", data_set, *arguments)
    assert result.status == 2
    assert said in result.err
