"""UWAV's losses of segments, by hand and against the published program."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from avvp.models.losses import segment_weights, soft_targets, uncertain_segment_loss
from support.golden import load_npz, needs_golden

INFINITY = float("inf")


@needs_golden
@pytest.mark.parametrize(("modality", "column"), [("audio", 1), ("visual", 2)])
def test_published_losses(modality: str, column: int) -> None:
    golden = load_npz("uwav_official.npz")
    logits, teacher, thresholds, weak = (
        torch.from_numpy(golden[f"loss/{name}"])
        for name in (f"{modality[0]}_frame_logits", f"{modality}_logits", f"{modality}_thresholds", "weak")
    )
    assert thresholds.isneginf().any()  # the case is in the values
    soft = uncertain_segment_loss(logits, teacher, thresholds, weak)
    assert soft.item() == pytest.approx(golden["loss/soft"][column], abs=1e-5)
    frequency = golden[f"loss/{modality}_frequency"]
    for given in (frequency, torch.from_numpy(frequency), frequency.tolist(), float(frequency.sum())):
        balanced = uncertain_segment_loss(logits, teacher, thresholds, weak, given, 0.5)
        assert balanced.item() == pytest.approx(golden["loss/soft_reweight"][column], abs=1e-4)


def test_soft_targets_by_hand() -> None:
    teacher = torch.tensor([[[1.0, 4.0, 0.0], [3.0, 2.0, 9.0]]])
    thresholds, weak = torch.tensor([1.0, -INFINITY, 0.0]), torch.tensor([[1.0, 1.0, 0.0]])

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    # The threshold of the second class becomes its lowest logit, 2, less 1; the clip does not have the third class.
    expected = [[[0.5, sigmoid(1.5), 0], [sigmoid(1), sigmoid(0.5), 0]]]
    torch.testing.assert_close(soft_targets(teacher, thresholds, weak), torch.tensor(expected))
    halved = soft_targets(teacher, thresholds, weak, temperature=1.0)
    assert halved[0, 1, 0].item() == pytest.approx(sigmoid(2))


def test_weights_by_hand() -> None:
    weights = segment_weights(torch.tensor([[1.0, 0.0, 0.0]]), np.array([0.1, 0.3, 0.2]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([[[0.5 * (3 - 0.6), 0.6, 0.6]]]))


def test_padding_does_not_count() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, teacher = (torch.randn(1, 4, 3, generator=generator) for _ in range(2))
    thresholds, weak = torch.tensor([0.0, -INFINITY, 0.5]), torch.ones(1, 3)
    teacher[:, 2:] -= 9.0  # the lowest logits are those of padding
    valid = torch.tensor([[True, True, False, False]])
    expected = uncertain_segment_loss(logits[:, :2], teacher[:, :2], thresholds, weak, 0.4, 0.5)
    torch.testing.assert_close(
        uncertain_segment_loss(logits, teacher, thresholds, weak, 0.4, 0.5, valid=valid), expected
    )
