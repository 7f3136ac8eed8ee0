"""Exchanged sounds and pictures, partners, and the estimate of noise ratios."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models import AVParser, load_published
from avvp.models.denoising import noise_ratios
from avvp.models.losses import Targets
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.inference.predict import predict_clips
from avvp.pipeline.training.settings.stage import make_stage
from avvp.pipeline.training.stages.estimate import (
    draw_partners,
    estimate_ratios,
    exchange,
    removals_of,
    remove_labels,
)
from support.golden import SEED, load_npz, needs_golden
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.parsers import inputs, tiny_parser
from support.training import CPU, clips_of
from support.zoo import zoo_features, zoo_labels, zoo_state

ESTIMATE = make_stage({"kind": "estimate", "name": "ratios", "batch_size": 8})


def batch_of(*features: torch.Tensor, lengths: torch.Tensor | None = None) -> Batch:
    count = len(features[0])
    return Batch(features[0], features[1], features[2], lengths, Targets(torch.zeros(count, 25)), ("x",) * count)


def silent(_done: int, _total: int) -> None:
    """No progress."""


@needs_golden
def test_the_exchange_equals_the_published_program() -> None:
    golden = load_npz("ma_official.npz")
    parser = load_published(zoo_state("ma"), family="ma")
    assert isinstance(parser, AVParser)
    exchanged = exchange(parser, batch_of(*zoo_features(SEED + 5, 12)), batch_of(*zoo_features(SEED + 6, 12)))
    for names, tables in zip((("a", "v"), ("a_v", "v_v"), ("a_a", "v_a")), exchanged, strict=True):
        for name, table in zip(names, tables, strict=True):
            np.testing.assert_allclose(table, golden[f"swap/{name}"], atol=2e-5)
    removed = removals_of(exchanged, zoo_labels(SEED + 7, 12, 0.2).numpy() > 0.5, 0.5)
    assert np.array_equal(removed.audio, golden["swap/removed_audio"])
    assert np.array_equal(removed.visual, golden["swap/removed_visual"])


def test_partners_share_no_label() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((700, 6)) < 0.3
    labels[0] = True  # shares a label with every clip that has one
    labels[1:][~labels[1:].any(axis=1), 2] = True
    partners = draw_partners(labels, 4)
    assert partners[0] == -1
    found = partners >= 0
    assert not (labels[found] & labels[partners[found]]).any()
    assert found.sum() > 600
    assert np.array_equal(partners, draw_partners(labels, 4))
    assert not np.array_equal(partners, draw_partners(labels, 5))


def test_a_clip_without_labels_is_not_its_own_partner() -> None:
    assert draw_partners(np.array([[False], [True]]), 0).tolist() == [1, 0]
    assert draw_partners(np.array([[False]]), 0).tolist() == [-1]


def test_pairs_of_other_lengths_have_the_seconds_of_both() -> None:
    parser = tiny_parser(encoder="han", decoder="mmil").eval()
    own, other = inputs(2, 5, seed=1), inputs(2, 3, seed=2)
    lengths = torch.tensor([5, 2])
    found = exchange(parser, batch_of(*own, lengths=lengths), batch_of(*other))
    for index, seconds in ((0, 3), (1, 2)):
        sound, picture = own[0][index, None, :seconds], other[1][index, None, : 8 * seconds]
        with torch.no_grad():
            expected = parser(sound, picture, other[2][index, None, :seconds])
        np.testing.assert_allclose(found.own_sound[0][index], expected.audio_video_probs[0].numpy(), rtol=1e-5)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    generate(
        root, Data({"train": 20, "val": 2, "test": 2}, labels=("Speech", "Dog", "Car", "Singing"), dims=(6, 10, 7))
    )
    return root


def test_ratios_of_clips(few: Path) -> None:
    """The estimate is that of `noise_ratios` on the probabilities, in the batches of a seeded order."""
    clips = clips_of(few, "train")
    parser = tiny_parser(encoder="han", decoder="mmil").float()
    found = estimate_ratios(parser, clips, ESTIMATE, seed=3, progress=silent)
    probabilities = predict_clips(parser, clips, CPU)
    order = np.random.default_rng(3).permutation(20)
    audio, visual = (table[order] for table in (probabilities.audio_video, probabilities.visual_video))
    if audio.ndim == 3:
        audio, visual = audio[:, 0], visual[:, 0]
    expected = noise_ratios(audio, visual, clips.video_labels[order], batch_size=8)
    np.testing.assert_allclose(found.audio, expected.audio, atol=1e-6)
    np.testing.assert_allclose(found.visual, expected.visual, atol=1e-6)
    assert not parser.training


def test_clips_without_a_partner_keep_their_labels(few: Path) -> None:
    clips = clips_of(few, "train")
    clips.video_labels[0] = True
    parser = tiny_parser(encoder="han", decoder="mmil").float()
    stage = make_stage({"kind": "relabel", "name": "x", "below": 1000.0})
    removed, alone = remove_labels(parser, clips, stage, seed=0, progress=silent)
    assert alone >= 1
    assert not removed.audio[0].any()
    assert removed.audio.any()
    assert not (removed.audio & ~clips.video_labels).any()
