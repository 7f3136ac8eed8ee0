"""CVCMS's contrast across videos and the classification of MGN's tokens, by hand and against the published programs."""

from __future__ import annotations

import math

import pytest
import torch
from avvp.models.losses import across_loss, pool_by_labels, token_loss
from support.golden import load_npz, needs_golden


@needs_golden
def test_published_losses_of_tokens() -> None:
    golden = load_npz("mgn_official.npz")
    for name, column in (("audio", 3), ("visual", 4)):
        logits = torch.from_numpy(golden[f"class_logits_{name}"])
        assert token_loss(logits).item() == pytest.approx(golden["train/losses"][0, column], abs=1e-4)
        batch = logits.expand(3, *logits.shape)  # the same tokens for every clip
        torch.testing.assert_close(token_loss(batch), token_loss(logits))


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    logits = torch.tensor([[[0.0, 50.0], [math.log(3), 0.0], [0.0, 90.0]]])
    valid = torch.tensor([[True, True, False]])
    pooled = pool_by_labels(hidden, logits, torch.tensor([[1.0, 0.0]]), valid)  # 1/4 and 3/4, then of norm 1
    torch.testing.assert_close(pooled, torch.tensor([[0.75, 3.0]]) / math.hypot(0.75, 3))
    both = pool_by_labels(hidden, logits, torch.tensor([[1.0, 1.0]]), valid)
    torch.testing.assert_close(both, torch.tensor([[1.0, 0.0]]))  # logits are added before the softmax
    even = pool_by_labels(hidden, logits, torch.zeros(1, 2), valid)  # no class: all seconds alike
    torch.testing.assert_close(even, torch.tensor([[0.6, 0.8]]))


def test_across_by_hand() -> None:
    audio = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    visual = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    audio_labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 1]])  # the third shares none with a picture
    visual_labels = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    same, other = -math.log(math.e / (math.e + 1)), -math.log(1 / (math.e + 1))
    expected = (same + (same + other) / 2 + 0) / 3
    assert across_loss(audio, visual, audio_labels, visual_labels).item() == pytest.approx(expected)
