"""The steps of AV2A against its published program, and against hand-computed numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.open_vocabulary.rules import (
    SHIFT_METHODS,
    fuse,
    merge_seconds,
    relative_scores,
    shift_ratios,
    shifted_thresholds,
)
from numpy.typing import NDArray
from support.golden import SEED, load_json, load_npz, needs_golden

SETTINGS = {  # alpha, filter, tau, second tau, gamma
    "languagebind": (0.5, 0.55, 0.75, 0.75, 2.5),
    "clip_clap": (0.45, 0.5, 0.75, 0.75, 1.0),
    "code_default": (0.5, 0.5, 0.6, 0.6, 0.8),
}
SIZES = (25, 67, 8, 4, 3, 2, 1)
KINDS = ("visual", "audio", "combined")

arrays = cache(load_npz)
document = cache(load_json)


def raw_stage(classes: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Raw similarities of pictures and of a clip's sound, and the embeddings of the pictures."""
    r = np.random.default_rng([SEED, classes])
    visual = np.cumsum(r.standard_normal((10, classes)), 0).astype("f4") * np.float32(0.02) + np.float32(0.2)
    audio = (r.standard_normal((1, classes)) * 0.05).astype("f4")
    return visual, audio, np.cumsum(r.standard_normal((10, 64)), 0).astype("f4")


def stage_scores(classes: int, alpha: float) -> dict[str, NDArray[np.float64]]:
    raw_visual, raw_audio, _ = raw_stage(classes)
    visual, audio = relative_scores(raw_visual), relative_scores(raw_audio)
    return {"visual": visual, "audio": np.repeat(audio, 10, 0), "combined": fuse(visual, audio, alpha)}


@needs_golden
@pytest.mark.parametrize("classes", SIZES)
def test_scores_are_those_of_the_published_program(classes: int) -> None:
    golden = arrays("av2a.npz")
    for alpha in (0.45, 0.5):
        found = stage_scores(classes, alpha)
        np.testing.assert_allclose(found["visual"], golden[f"stage/{classes}/visual"], atol=1e-6)
        np.testing.assert_allclose(found["audio"][:1], golden[f"stage/{classes}/audio"], atol=1e-6)
        np.testing.assert_allclose(found["combined"], golden[f"stage/{classes}/combined_{alpha}"], atol=1e-6)


def stages() -> Iterator[tuple[int, str, str, str]]:
    for classes in SIZES:
        for setting in SETTINGS:
            yield from ((classes, setting, method, kind) for method in SHIFT_METHODS for kind in KINDS)


@needs_golden
@pytest.mark.filterwarnings("ignore:invalid value")
def test_thresholds_decisions_and_events_are_those_of_the_published_program() -> None:
    golden, described = arrays("av2a.npz"), document("av2a.json")["stages"]
    for classes, setting, method, kind in stages():
        alpha, _, tau, _, gamma = SETTINGS[setting]
        scores = stage_scores(classes, alpha)[kind]
        key = f"stage/{classes}/{setting}/{method}/{kind}"
        embeddings = None if kind == "audio" else raw_stage(classes)[2]
        thresholds = shifted_thresholds(scores, tau, gamma, method, embeddings)
        if method != "naive":
            np.testing.assert_allclose(thresholds, golden[f"{key}/thresholds"], atol=1e-6 * tau, err_msg=key)
        active = scores > thresholds
        np.testing.assert_array_equal(active, golden[f"{key}/decisions"], err_msg=key)
        events = {f"c{c:02}": [list(run) for run in merge_seconds(active[:, c])] for c in range(classes)}
        assert {name: runs for name, runs in events.items() if runs} == described[key]["kept"], key


@needs_golden
def test_ratios_are_those_of_the_published_program() -> None:
    r = np.random.default_rng([SEED, 9])
    for n, k in ((1, 5), (4, 5), (9, 25)):
        on, past, following = r.random((n, k)) > 0.6, r.random((n, k)), r.random((1, k))
        np.testing.assert_allclose(shift_ratios(past, on, following), arrays("av2a.npz")[f"shift/{n}_{k}"], atol=1e-6)
    patterns = r.random((40, 10)) < 0.55
    for pattern, golden in zip(patterns, document("av2a.json")["merge"], strict=True):
        assert pattern.astype(int).tolist() == golden["on"]
        assert [list(event) for event in merge_seconds(pattern)] == golden["events"]


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (6, 6), (9, 4)])
def test_ratios_solve_the_system_as_it_is_written(shape: tuple[int, int]) -> None:
    r = np.random.default_rng(shape)
    past, on, following = r.random(shape), r.random(shape) > 0.5, r.random(shape[1])
    k = past.T @ on / shape[0]
    w = np.linalg.solve(k.T @ k + np.eye(shape[1]), k.T @ following)
    np.testing.assert_allclose(shift_ratios(past, on, following), w * following, rtol=1e-12, atol=1e-14)
    assert not shift_ratios(past, np.zeros(shape), following).any()


def test_relative_scores_by_hand() -> None:
    # 0, 1, 2: mean 1, deviation 1 with n - 1
    np.testing.assert_allclose(relative_scores([[0, 1, 2]]), [[1 / (1 + np.e), 0.5, np.e / (1 + np.e)]])
    assert np.isnan(relative_scores([[3.0]])).all()


def test_thresholds_by_hand() -> None:
    # cosine: the second falls by tau * exp(-gamma * 1) * cos where the class was active, by tau * cos where it wasn't
    found = shifted_thresholds([[0.9, 0.1], [0.2, 0.2]], 0.5, 1.0, "cosine", [[1, 0], [1, 1]])
    fall = 0.5 / np.sqrt(2)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.5 - fall / np.e, 0.5 - fall]])
    # bbse with one class, active: K = .9, w = .9 * .5 / (.81 + 1), times .5
    found = shifted_thresholds([[0.9], [0.5]], 0.8, 0.0, "bbse")
    np.testing.assert_allclose(found[:, 0], [0.8, 0.8 - 0.8 * 0.9 * 0.5 / 1.81 * 0.5])


def test_thresholds_may_differ_by_class() -> None:
    scores = np.random.default_rng(1).random((8, 3))
    both = shifted_thresholds(scores, [0.4, 0.6, 0.8], 0.7, "cosine")
    for c, level in enumerate((0.4, 0.6, 0.8)):
        np.testing.assert_allclose(both[:, c : c + 1], shifted_thresholds(scores[:, c : c + 1], level, 0.7, "cosine"))


@pytest.mark.parametrize(
    ("flags", "events"),
    [
        ("", []),
        ("1", []),
        ("11", [(0, 2)]),
        ("11011", [(0, 5)]),
        ("110011", [(0, 2), (4, 6)]),
        ("1101011", [(0, 2), (5, 7)]),  # the single second is dropped first
        ("10101", []),
        ("0110111", [(1, 7)]),
    ],
)
def test_events_by_hand(flags: str, events: list[tuple[int, int]]) -> None:
    assert merge_seconds([flag == "1" for flag in flags]) == events


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="method 'fast' is not one of bbse-cosine, bbse, cosine, naive"):
        shifted_thresholds([[0.5]], 0.5, 1.0, "fast")
    with pytest.raises(ValueError, match=r"expected scores \(T, C\), got \(1,\)"):
        shifted_thresholds([0.5], 0.5, 1.0)
    with pytest.raises(ValueError, match=r"expected embeddings \(1, D\), got \(2, 4\)"):
        shifted_thresholds([[0.5]], 0.5, 1.0, "cosine", np.ones((2, 4)))
