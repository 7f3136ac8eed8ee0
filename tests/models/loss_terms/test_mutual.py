"""CMPAE's mutual learning, by hand and against the published program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avvp.models.losses import mutual_learning_loss
from support.golden import SEED, load_npz, needs_golden
from support.zoo import zoo_labels

NAMES = ("global_prob", "a_prob", "v_prob", "a_uncertainty", "v_uncertainty", "global_uncertainty")


@needs_golden
@pytest.mark.parametrize("step", [0, 1, 4])
def test_published_loss_and_gradients(step: int) -> None:
    golden, batch = load_npz("cmpae_official.npz"), step % 2
    rng = np.random.default_rng(SEED + 4)
    drawn = [rng.random((12, 25)) for _ in range(5)]
    values = [torch.from_numpy(value.astype("f4")).requires_grad_() for value in (*drawn, rng.uniform(0.7, 1, 12))]
    video, audio, visual, of_audio, of_visual, of_video = values
    target = zoo_labels(SEED + 5, 12, 0.15)
    loss = mutual_learning_loss(target, video, audio, visual, of_audio, of_visual, of_video, step)
    assert loss.item() == pytest.approx(golden[f"mutual/batch{batch}/loss"].item(), abs=1e-6)
    loss.backward()
    for name, value in zip(NAMES, values, strict=True):
        norm = 0.0 if value.grad is None else value.grad.norm().item()
        assert norm == pytest.approx(golden[f"mutual/batch{batch}/grad_norm/{name}"].item(), rel=1e-4), name


def test_by_hand() -> None:
    one = torch.ones(1, 1)
    given = (0.5 * one, 0.9 * one, 0.1 * one, 0.2 * one, 0.6 * one, torch.tensor([0.95]))
    of_clip, others = (1 - 0.2) * (0.5 - 0.9) ** 2, (1 - 0.4) * (0.5 - 0.5) ** 2
    assert mutual_learning_loss(one, *given, 1).item() == pytest.approx(0.95 * of_clip, rel=1e-5)
    assert mutual_learning_loss(one, *given, 2).item() == pytest.approx(0.05 * of_clip, rel=1e-4)
    assert mutual_learning_loss(0 * one, *given, 1).item() == pytest.approx(0.95 * others, abs=1e-9)
    sure = (*given[:-1], torch.tensor([0.3]))
    assert mutual_learning_loss(one, *sure, 1).item() == pytest.approx(0.9 * of_clip, rel=1e-5)  # at least 0.9


def test_a_batch_of_one_clip() -> None:
    """The published program fails at it: its squeeze drops the batch."""
    one = torch.full((1, 4), 0.5)
    assert mutual_learning_loss(one.ceil(), one, one, one, one, one, torch.tensor([0.5]), 0).item() == 0
