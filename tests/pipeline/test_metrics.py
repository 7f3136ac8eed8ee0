"""The scorer: by hand, against a plain loop over clips and classes, and against the published figures."""

from __future__ import annotations

import numpy as np
import pytest
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.metrics import LEVELS, SCORE_NAMES, Scores, class_scores, overlapping, score
from avvp.pipeline.segments import runs
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden import LLP, load_json, needs_golden

GOLDEN_NAMES = dict(zip(SCORE_NAMES, ("A", "V", "AV", "Type@AV", "Event@AV"), strict=True))


def clip(*classes: str) -> np.ndarray:
    """(1, T, C) from one string of 0 and 1 for each class."""
    return np.array([[[int(mark) for mark in second] for second in zip(*classes, strict=True)]], bool)


def test_segments_by_hand() -> None:
    """Class 0: TP 2, FP 1, FN 1: 4 / 6. Class 1 is in neither and does not count."""
    scores = score(clip("1110", "0000"), clip("0000", "0000"), clip("0111", "0000"), clip("0000", "0000")).segment
    assert scores.audio == pytest.approx(100 * 4 / 6)
    assert scores.visual == 100  # nothing there, nothing predicted
    assert scores.audio_visual == 100
    assert scores.type_av == pytest.approx((100 * 4 / 6 + 200) / 3)
    assert scores.event_av == pytest.approx(100 * 4 / 6)


def test_events_by_hand() -> None:
    """[0, 4) against [0, 2): IoU 1/2 is a match; [6, 7) against [6, 9): 1/3 is none."""
    nothing = clip("0000000000")
    scores = score(clip("1111001000"), nothing, clip("1100001110"), nothing).event
    assert scores.audio == pytest.approx(100 * 2 / 4)  # TP 1, FP 1, FN 1


def test_pooled_counts() -> None:
    """Audio: TP 1. Visual: FP 1, FN 1. Pooled: 2 / (2 + 1 + 1)."""
    scores = score(clip("10"), clip("10"), clip("10"), clip("01")).segment
    assert (scores.audio, scores.visual, scores.event_av) == (100, 0, 50)
    assert scores.audio_visual == 0  # predicted audio-visual, is not: FP


def test_mean_of_the_ten() -> None:
    scores = score(clip("10"), clip("10"), clip("10"), clip("01"))
    values = [getattr(getattr(scores, level), name) for level in LEVELS for name in SCORE_NAMES]
    assert scores.mean == pytest.approx(sum(values) / 10)


def test_padding_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    four = rng.random((4, 6, 10, 3)) < 0.3
    padded = np.concatenate([four, np.zeros((4, 6, 5, 3), bool)], axis=2)
    assert score(*four) == score(*padded)


def plain(pred: np.ndarray, true: np.ndarray, level: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TP, FP and FN of one clip and class at a time, by the definition."""
    counts = np.zeros((3, pred.shape[0], pred.shape[2]), int)
    for n in range(pred.shape[0]):
        for c in range(pred.shape[2]):
            if level == "segment":
                p, t = set(np.flatnonzero(pred[n, :, c])), set(np.flatnonzero(true[n, :, c]))
                counts[:, n, c] = len(p & t), len(p - t), len(t - p)
                continue
            said = [set(range(*run)) for run in runs(pred[n, :, c])]
            there = [set(range(*run)) for run in runs(true[n, :, c])]

            def matches(one: set, others: list[set]) -> bool:
                return any(len(one & other) >= 0.5 * len(one | other) for other in others)

            hits = sum(matches(event, there) for event in said)
            counts[:, n, c] = hits, len(said) - hits, sum(not matches(event, said) for event in there)
    return counts[0], counts[1], counts[2]


def plain_score(pa: np.ndarray, pv: np.ndarray, ta: np.ndarray, tv: np.ndarray) -> list[float]:
    scores = []
    for level in LEVELS:
        audio, visual = plain(pa, ta, level), plain(pv, tv, level)
        both = plain(pa & pv, ta & tv, level)
        pooled = tuple(a + v for a, v in zip(audio, visual, strict=True))
        five = []
        for hits, spurious, missed in (audio, visual, both, pooled):
            per_clip = []
            for h, s, m in zip(hits, spurious, missed, strict=True):
                own = [2 * x / (2 * x + y + z) for x, y, z in zip(h, s, m, strict=True) if x + y + z]
                per_clip.append(sum(own) / len(own) if own else 1.0)
            five.append(100 * sum(per_clip) / len(per_clip))
        scores += [*five[:3], sum(five[:3]) / 3, five[3]]
    return scores


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12), st.integers(1, 4), st.floats(0, 1))
def test_equals_the_loop(seed: int, clips: int, seconds: int, classes: int, density: float) -> None:
    four = np.random.default_rng(seed).random((4, clips, seconds, classes)) < density
    scores = score(*four)
    got = [getattr(getattr(scores, level), name) for level in LEVELS for name in SCORE_NAMES]
    assert got == pytest.approx(plain_score(*four), abs=1e-9)


def test_classes_alone() -> None:
    """A class is averaged over the clips that have it; a class that no clip has gets no scores."""
    pred = np.concatenate([clip("11", "00", "00"), clip("00", "00", "00")])
    true = np.concatenate([clip("11", "00", "00"), clip("11", "01", "00")])
    nothing = np.zeros_like(true)
    first, second, third = class_scores(pred, nothing, true, nothing)
    assert first is not None
    assert second is not None
    assert first.event.audio == 50  # right in one clip, missed in the other
    assert np.isnan(first.event.visual)
    assert first.event.event_av == 50
    assert second.segment.audio == 0
    assert third is None
    assert first.to_dict()["event"]["visual"] is None


def test_overlapping_clips() -> None:
    """Two events of one modality in one second; not two in different seconds, not one of either modality."""
    audio = np.concatenate([clip("11", "01"), clip("10", "01"), clip("11", "00")])
    visual = np.concatenate([clip("00", "00"), clip("00", "00"), clip("00", "11")])
    assert overlapping(audio, visual).tolist() == [True, False, False]
    assert overlapping(visual, audio).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "four",
    [
        [np.zeros((1, 2, 3))] * 3 + [np.zeros((1, 2, 4))],
        [np.zeros((2, 3))] * 4,
        [np.zeros((0, 2, 3))] * 4,
        [np.full((1, 2, 3), 0.5)] * 4,
    ],
)
def test_arrays_that_cannot_be_scored(four: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected"):
        score(*four)


def published_prediction(kind: str, audio: np.ndarray, visual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What golden/README.md defines: the truth with errors, drawn clip by clip."""
    if kind == "zeros":
        return np.zeros_like(audio), np.zeros_like(visual)
    _, seed, flip, drop = kind.split("_")
    rates = [float(f"0.{flip}")] * 2 + [float(f"0.{drop}")] * 2
    predictions = np.zeros((2, *audio.shape), bool)
    for index in range(len(audio)):
        rng = np.random.default_rng([int(seed), index])
        flip_a, flip_v, drop_a, drop_v = (rng.random((25, 10)) < rate for rate in rates)
        for place, truth, flips, drops in ((0, audio, flip_a, drop_a), (1, visual, flip_v, drop_v)):
            there = truth[index].T
            predictions[place, index] = ((there & ~drops) | (~there & flips)).T
    return predictions[0], predictions[1]


@needs_golden
@pytest.mark.parametrize("case", ["val/zeros", "val/noisy_1_005_2", "val/noisy_2_02_4"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_published_figures(case: str, split: str) -> None:
    kind = case.split("/")[1]
    annotations = read_annotations(LLP)
    clips = annotations.split(split)
    truth = [annotations.modality_labels(clips, modality, 10) for modality in ("audio", "visual")]
    scores: Scores = score(*published_prediction(kind, *truth), *truth)
    for level, figures in load_json("llp_metrics.json")[f"{split}/{kind}"].items():
        for name, short in GOLDEN_NAMES.items():
            assert getattr(getattr(scores, level), name) == pytest.approx(figures[short], abs=1e-9), (level, name)
