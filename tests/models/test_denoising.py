"""Denoising of weak labels: the published programs, and cases that are computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avvp.models.denoising import (
    drop_noisy_labels,
    modality_aware_removals,
    modality_targets,
    noise_ratios,
    warmed_ratio,
)
from avvp.models.losses import Objective, Targets, objective_terms
from support.golden import SEED, load_npz, needs_golden
from support.parsers import inputs, tiny_parser
from support.training import WEAK


def golden_labels(seed: int, count: int, share: float) -> np.ndarray:
    labels = np.random.default_rng(seed).random((count, 25)) < share
    labels[np.arange(count), np.arange(count) % 25] = True
    return labels


@needs_golden
def test_removals_equal_the_published_program() -> None:
    golden, rng = load_npz("ma_official.npz"), np.random.default_rng(SEED + 4)
    _, _, a_v, v_v, a_a, v_a = (rng.random((64, 25)).astype("f4") for _ in range(6))
    weak = rng.random((64, 25)) < 0.15
    visual, audio = ((0.5 + 0.5 * rng.random(25)).astype("f4") for _ in range(2))
    removed = modality_aware_removals(
        {"own_sound": a_v, "own_picture": a_a}, {"own_sound": v_v, "own_picture": v_a}, weak, audio, visual
    )
    assert np.array_equal(weak, golden["stage2/weak"])
    assert np.array_equal(removed.audio, golden["stage2/removed_audio"])
    assert np.array_equal(removed.visual, golden["stage2/removed_visual"])
    assert removed.audio.sum() > 20


@needs_golden
def test_targets_of_ma_equal_the_published_program() -> None:
    golden = load_npz("ma_official.npz")
    names = ("weak", "drop_audio", "drop_visual")
    targets = modality_targets(*(golden[f"stage3/{name}"] for name in names), rule="ma")
    for name, table in targets._asdict().items():
        assert np.array_equal(table, golden[f"stage3/{name}_target"]), name


@needs_golden
def test_targets_of_cvcms_equal_the_published_program() -> None:
    golden, weak = load_npz("cvcms_official.npz"), golden_labels(SEED + 2, 8, 0.2)
    removed = (weak & (golden[f"train/{name}_labels"] == 0) for name in ("audio", "visual"))
    targets = modality_targets(weak, *removed, rule="cvcms")
    for name, table in targets._asdict().items():
        assert np.array_equal(table, golden[f"train/{name}_target"]), name


@needs_golden
def test_noise_ratios_equal_the_published_program() -> None:
    golden, rng = load_npz("jomold_official.npz"), np.random.default_rng(SEED + 4)
    audio, visual = (rng.random((56, 25)).astype("f4") for _ in range(2))
    ratios = noise_ratios(audio, visual, golden_labels(SEED + 5, 56, 0.2), batch_size=16)
    assert np.array_equal(ratios.audio, golden["stage2/noise_audio"])
    assert np.array_equal(ratios.visual, golden["stage2/noise_visual"])


@needs_golden
@pytest.mark.parametrize("epoch", [1, 2])
def test_dropped_labels_equal_the_published_program(epoch: int) -> None:
    golden, rng = load_npz("jomold_official.npz"), np.random.default_rng(SEED + 6)
    audio_ratio, visual_ratio = rng.uniform(0.1, 0.6, 25), rng.uniform(0.1, 0.9, 25)
    for step in range(4):
        audio, visual = (rng.random((48, 25)).astype("f4") for _ in range(2))
        weak = golden_labels(SEED + 10 + step, 48, 0.3).astype("f4")
        smoothed = np.float32(0.9) * weak + np.float32(0.05)
        of_audio, of_visual = (warmed_ratio(ratio, epoch, step, 4) for ratio in (audio_ratio, visual_ratio))
        targets = drop_noisy_labels(audio, visual, weak, smoothed, of_audio, of_visual)
        for name, table in targets._asdict().items():
            assert np.array_equal(table, golden[f"stage3/epoch{epoch}/{name}_target"][step]), name


def test_a_label_is_removed_where_neither_head_finds_it_in_the_kept_modality() -> None:
    """Errors .1 and .4 are .25 and 1 of the largest: class 0 is found from .125 on, class 1 from .5."""
    accuracy = np.array([0.9, 0.6])
    found, lost = [0.2, 0.6], [0.1, 0.4]
    none = np.array([lost, lost, lost])
    audio_of = {"own_sound": np.array([found, lost, lost]), "own_picture": none}
    visual_of = {"own_sound": np.array([lost, found, lost]), "own_picture": none}
    weak = np.array([[1, 1], [1, 1], [1, 0]])
    removed = modality_aware_removals(audio_of, visual_of, weak, accuracy, accuracy)
    assert removed.audio.tolist() == [[False, False], [False, False], [True, False]]
    assert removed.visual.tolist() == (weak > 0).tolist()
    kept = modality_aware_removals(audio_of, visual_of, weak, accuracy, accuracy, below=0.1)
    assert not kept.audio.any()


def test_a_parser_without_errors_removes_nothing() -> None:
    zeros = {"own_sound": np.zeros((2, 2)), "own_picture": np.zeros((2, 2))}
    removed = modality_aware_removals(zeros, zeros, np.ones((2, 2)), np.ones(2), np.ones(2))
    assert not removed.audio.any()
    assert not removed.visual.any()


def test_removals_need_both_exchanges() -> None:
    probs = {"own_sound": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=r"audio_of\['own_picture'\] must be an array of shape \(2, 2\)"):
        modality_aware_removals(probs, probs, np.ones((2, 2)), np.ones(2), np.ones(2))


def test_ma_removes_from_the_video_what_it_removes_from_the_sound() -> None:
    weak, audio, visual = np.array([[1, 1, 0]]), np.array([[1, 0, 1]]), np.array([[0, 1, 1]])
    ma = modality_targets(weak, audio, visual, "ma")
    assert (ma.video == ma.audio).all()
    assert ma.audio.tolist() == [[0, 1, 0]]
    np.testing.assert_allclose(ma.visual, [[0.95, 0, 0.05]])
    cvcms = modality_targets(weak, audio, visual, "cvcms")
    assert cvcms.video.tolist() == [[1, 1, 0]]
    assert cvcms.visual.tolist() == [[1, 0, 0]]
    with pytest.raises(ValueError, match="not one of ma, cvcms"):
        modality_targets(weak, audio, visual, "other")


def test_the_last_batch_weighs_as_much_in_the_mean() -> None:
    """Batch means .2 and .8: mean .5. Sound: below .3; picture (x .95, 1.8): below .947."""
    probs = np.array([[0.1], [0.3], [0.8]])
    ratios = noise_ratios(probs, probs, np.ones((3, 1)), batch_size=2)
    assert ratios.audio.tolist() == [1 / 3]
    assert ratios.visual.tolist() == [1.0]
    few = noise_ratios(probs, probs, np.ones((3, 1)), batch_size=2, audio_below=0.1, visual_below=1.0)
    assert (few.audio.tolist(), few.visual.tolist()) == ([0.0], [2 / 3])
    assert noise_ratios(probs, probs, np.zeros((3, 1)), batch_size=2).audio.tolist() == [0.0]


@pytest.mark.parametrize(
    ("probs", "weak", "size", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), 1, "same shape"),
        (np.zeros((0, 2)), np.zeros((0, 2)), 1, "same shape"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 0, "at least 1"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), 1, "not finite"),
    ],
)
def test_noise_ratios_refuse_other_arrays(probs: np.ndarray, weak: np.ndarray, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_ratios(probs, probs, weak, batch_size=size)


def test_warm_up() -> None:
    ratio = np.array([0.2, 0.4])
    assert [warmed_ratio(ratio, 1, step, 2).tolist() for step in range(2)] == [[0, 0], [0, 0]]
    assert warmed_ratio(ratio, 2, 0, 2).tolist() == [0.2, 0.4]
    assert warmed_ratio(ratio, 1, 1, 2, rule="ramp").tolist() == [0.1, 0.2]
    assert warmed_ratio(ratio, 1, 0, 2, rule="none").tolist() == [0.2, 0.4]
    with pytest.raises(ValueError, match="not one of published, ramp, none"):
        warmed_ratio(ratio, 1, 0, 1, rule="linear")
    for epoch, step in ((0, 0), (1, 2), (1, -1)):
        with pytest.raises(ValueError, match="epochs count from 1"):
            warmed_ratio(ratio, epoch, step, 2)


def test_labels_are_dropped_where_the_modalities_disagree_most() -> None:
    """Four videos have the class; half of them may lose it: heard well and seen badly, or the other way round."""
    audio, visual = np.array([[0.9], [0.8], [0.2], [0.1], [0.9]]), np.array([[0.1], [0.9], [0.8], [0.2], [0.1]])
    targets = np.array([[1.0], [1.0], [1.0], [1.0], [0.0]])
    dropped = drop_noisy_labels(audio, visual, targets, targets, np.array([0.5]), np.array([0.6]))
    assert dropped.audio.tolist() == [[1], [1], [0], [1], [0]]  # lowest visual losses: 1, 2; highest audio losses: 3, 2
    assert dropped.visual.tolist() == [[0], [1], [1], [1], [0]]  # lowest audio losses: 0, 1; highest visual: 0, 3
    assert targets.sum() == 4  # unchanged
    none = drop_noisy_labels(audio, visual, targets, targets, np.array([0.2]), np.array([0.2]))
    assert (none.audio == targets).all()
    with pytest.raises(ValueError, match="same shape"):
        drop_noisy_labels(audio, visual[:2], targets, targets, np.ones(1), np.ones(1))


@pytest.mark.parametrize(("rule", "video_targets"), [("ma", "audio"), ("cvcms", "modalities")])
def test_losses_compare_with_the_targets_of_the_rules(rule: str, video_targets: str) -> None:
    """The objectives of recipes, which get removed labels, and `modality_targets` agree."""
    rng = np.random.default_rng(0)
    parser = tiny_parser(encoder="han", decoder="mmil").eval()
    classes = len(parser.config.labels)
    weak, audio, visual = (rng.random((4, classes)) < share for share in (0.7, 0.4, 0.4))
    expected = modality_targets(weak, audio, visual, rule)
    with torch.no_grad():
        output = parser(*inputs(4, 5))
    labels = (torch.from_numpy(table).float() for table in (weak & ~audio, weak & ~visual))
    targets = Targets(torch.from_numpy(weak).float(), None, None, *labels)
    smoothing = {"visual_smoothing": 0.1 if rule == "ma" else 0.0}
    terms = objective_terms(output, targets, Objective(**{**WEAK, **smoothing, "video_targets": video_targets}))
    probs = {"video": output.video_probs, "audio": output.audio_video_probs, "visual": output.visual_video_probs}
    for name, table in expected._asdict().items():
        loss = torch.nn.functional.binary_cross_entropy(probs[name].double(), torch.from_numpy(table))
        assert terms[name].item() == pytest.approx(loss.item(), rel=1e-5), name


def test_removed_labels_may_be_smoothed_too() -> None:
    """CVCMS smooths after removal: a removed label is 0.05, not 0."""
    parser = tiny_parser(encoder="han", decoder="mmil").eval()
    with torch.no_grad():
        output = parser(*inputs(1, 5))
    ones = torch.ones(1, len(parser.config.labels))
    targets = Targets(ones, None, None, ones, 0 * ones)
    probs = output.visual_video_probs
    for smooth_removed, target in ((False, 0.0), (True, 0.05)):
        terms = objective_terms(output, targets, Objective(**{**WEAK, "smooth_removed": smooth_removed}))
        expected = -(target * probs.log() + (1 - target) * (1 - probs).log()).mean()
        assert terms["visual"].item() == pytest.approx(expected.item(), rel=1e-5)
