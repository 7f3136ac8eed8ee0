"""Decisions and events, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.thresholds import Thresholds, read_thresholds
from avvp.pipeline.timeline import Event, SegmentLabels, SegmentProbabilities, all_events, find_events
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

LABELS = ("Dog", "Speech")


def probabilities(audio: list, visual: list, audio_video: list, visual_video: list) -> SegmentProbabilities:
    length = len(audio)
    rows = [np.array(audio), np.array(visual), np.tile(audio_video, (length, 1)), np.tile(visual_video, (length, 1))]
    return SegmentProbabilities(*(row.astype(np.float32) for row in rows))


def test_published_decision_rule() -> None:
    """A segment counts where either modality has the class at the video level; 0.5 itself is enough."""
    given_ = probabilities([[0.5, 0.9], [0.49, 0.9]], [[0.1, 0.9], [0.9, 0.9]], [0.2, 0.4], [0.5, 0.49])
    audio, visual = Thresholds.uniform(LABELS, 0.5, 0.5).decide(given_)
    assert audio.tolist() == [[True, False], [False, False]]
    assert visual.tolist() == [[False, False], [True, False]]


def test_consecutive_seconds_become_one_event_with_the_mean_score() -> None:
    active = np.array([[1], [1], [0], [1]], bool)
    events = find_events(active, np.array([[0.6], [0.8], [0.1], [0.7]]), ["Dog"], "audio")
    assert [(event.label, event.onset, event.offset) for event in events] == [("Dog", 0.0, 2.0), ("Dog", 3.0, 4.0)]
    assert [event.score for event in events] == pytest.approx([0.7, 0.7])


def test_audio_visual_events_are_the_intersection() -> None:
    given_ = probabilities([[0.9, 0], [0.9, 0], [0, 0]], [[0, 0], [0.6, 0], [0.8, 0]], [1, 1], [1, 1])
    audio, visual = Thresholds.uniform(LABELS, 0.5, 0.5).decide(given_)
    events = all_events(SegmentLabels(audio, visual), given_, LABELS)
    (both,) = [event for event in events if event.modality == "audio_visual"]
    assert (both.onset, both.offset, both.score) == (1.0, 2.0, pytest.approx(0.6))
    assert [(event.onset, event.offset, event.modality) for event in events] == [
        (0.0, 2.0, "audio"), (1.0, 2.0, "audio_visual"), (1.0, 3.0, "visual"),
    ]  # fmt: skip


@given(arrays(bool, st.tuples(st.integers(0, 12), st.integers(1, 4))))
def test_events_cover_exactly_the_active_segments(active: np.ndarray) -> None:
    labels = [f"class {index}" for index in range(active.shape[1])]
    again = np.zeros_like(active)
    for event in find_events(active, np.ones(active.shape), labels, "visual"):
        rows = slice(int(event.onset), int(event.offset))
        assert not again[rows, labels.index(event.label)].any()
        again[rows, labels.index(event.label)] = True
        before, after = int(event.onset) - 1, int(event.offset)
        assert before < 0 or not active[before, labels.index(event.label)]
        assert after >= len(active) or not active[after, labels.index(event.label)]
    np.testing.assert_array_equal(again, active)


@pytest.mark.parametrize(
    "values",
    [
        ("smell", "Dog", 0, 1, 0.5),
        ("audio", "Dog", 1, 1, 0.5),
        ("audio", "Dog", -1, 1, 0.5),
        ("audio", "Dog", 0, 1, 1.5),
        ("audio", "Dog", 0, float("inf"), 0.5),
        ("audio", "Dog", float("nan"), 1, 0.5),
    ],
)
def test_event_rejects_invalid_values(values: tuple) -> None:
    with pytest.raises(ValueError, match=r"modality|interval|probability"):
        Event(*values)


def test_probabilities_must_be_probabilities() -> None:
    with pytest.raises(ValueError, match="not all in"):
        probabilities([[float("nan")]], [[0]], [0], [0])
    with pytest.raises(ValueError, match="expected"):
        SegmentProbabilities(*(np.zeros((size, 1), np.float32) for size in (2, 2, 3, 2)))


def test_thresholds_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        "[audio.segment]\nDog = 0.2\n[visual.segment]\ndefault = 0.3\nSpeech = 0.4\n[visual.video]\nDog = 1\n"
    )
    thresholds = Thresholds.uniform(LABELS, 0.5, 0.6).changed(read_thresholds(path))
    assert thresholds.audio_segment.tolist() == [0.2, 0.5]
    assert thresholds.visual_segment.tolist() == [0.3, 0.4]
    assert thresholds.visual_video.tolist() == [1.0, 0.6]
    assert thresholds.to_dict() == {
        "audio_segment": {"Dog": 0.2, "Speech": 0.5}, "audio_video": 0.6,
        "visual_segment": {"Dog": 0.3, "Speech": 0.4}, "visual_video": {"Dog": 1.0, "Speech": 0.6},
        "video": 0.6,
    }  # fmt: skip


def test_decide_uses_pooled_video_probabilities(tmp_path: Path) -> None:
    """MMIL: the modalities' own video probabilities have no say."""
    one = np.ones((2, 2), np.float32)
    given_ = SegmentProbabilities(one, one, one, one, video=np.array([[0.6, 0.3]] * 2, np.float32))
    audio, _ = Thresholds.uniform(LABELS, 0.5, 0.5).decide(given_)
    assert audio.tolist() == [[True, False]] * 2
    (tmp_path / "t.toml").write_text("[video]\nDog = 0.7\ndefault = 0.2\n")
    audio, _ = Thresholds.uniform(LABELS, 0.5, 0.5).changed(read_thresholds(tmp_path / "t.toml")).decide(given_)
    assert audio.tolist() == [[False, True]] * 2


def test_thresholds_round_trip_through_toml(tmp_path: Path) -> None:
    thresholds = Thresholds.uniform(LABELS, 0.3, 0.6)
    thresholds.audio_segment[1] = 0.15
    (tmp_path / "t.toml").write_text(thresholds.to_toml())
    assert (
        Thresholds.uniform(LABELS, 0.5, 0.5).changed(read_thresholds(tmp_path / "t.toml")).to_dict()
        == thresholds.to_dict()
    )


def test_thresholds_from_json(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"audio": {"segment": {"Dog": 0.1}}}))
    assert Thresholds.uniform(LABELS, 0.5, 0.5).changed(read_thresholds(path)).audio_segment.tolist() == [0.1, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[audio.segment]\nDog = 2", "not a number from 0 to 1"),
        ("[audio.segment]\nDog = true", "not a number from 0 to 1"),
        ("[audio.segment]\nDog = 'x'", "not a number from 0 to 1"),
        ("[smell.segment]\nDog = 0.1", "'smell' is not a table"),
        ("[audio]\nDog = 0.1", "audio.Dog is not a table"),
        ("audio = 0.1", "'audio' is not a table"),
        ("[audio", "not a readable thresholds file"),
    ],
)
def test_bad_thresholds_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(SetupError, match=message):
        read_thresholds(path)


def test_threshold_of_an_unknown_class() -> None:
    with pytest.raises(SetupError, match="unknown class 'Cat'; known: Dog, Speech"):
        Thresholds.uniform(LABELS, 0.5, 0.5).changed({"audio_segment": {"Cat": 0.1}})
