"""The alignment losses of MA and JoMoLD, by hand and against the published programs."""

from __future__ import annotations

import math

import pytest
import torch
from avvp.models.losses import alignment_loss
from support.golden import load_npz, needs_golden
from torch.nn import functional as F

VARIANTS = ("ma", "jomold")


def two_seconds() -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines between two seconds of sound and of picture: 1 with the same, 0 with the other."""
    return torch.tensor([[[2.0, 0.0], [0.0, 3.0]]]), torch.tensor([[[5.0, 0.0], [0.0, 0.1]]])


@needs_golden
def test_published_losses() -> None:
    ma, jomold = load_npz("ma_official.npz"), load_npz("jomold_official.npz")
    got = alignment_loss(torch.from_numpy(ma["a_fea"]), torch.from_numpy(ma["visual_in"]), "ma")
    assert got.item() == pytest.approx(ma["alignment"].item(), abs=1e-4)
    for form in ("ca", "noca"):
        audio, visual = (torch.from_numpy(jomold[f"{form}/{name}"]) for name in ("a_fea", "v_fea"))
        expected = jomold[f"{form}/alignment"].item()
        assert alignment_loss(audio, visual, "jomold").item() == pytest.approx(expected, abs=1e-4)
        assert abs(alignment_loss(audio, visual, "ma").item() - expected) > 2e-4  # two losses


def test_by_hand() -> None:
    same = 1 / (1 + math.exp(-5))  # cosine 1 / 0.2
    ma = -(0.9 * math.log(same) + 0.1 * math.log(1 - same))
    jomold = -math.log(0.9 * same + 0.1 * (1 - same))
    assert alignment_loss(*two_seconds(), "ma").item() == pytest.approx(ma, rel=1e-5)
    assert alignment_loss(*two_seconds(), "jomold").item() == pytest.approx(jomold, rel=1e-5)


def test_rows_are_seconds_of_the_sound() -> None:
    """The picture's second second resembles both: from sound to picture is another loss than from picture to sound."""
    audio = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    visual = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    assert abs(alignment_loss(audio, visual, "ma") - alignment_loss(visual, audio, "ma")) > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_does_not_count(variant: str) -> None:
    generator = torch.Generator().manual_seed(3)
    audio, visual = (torch.randn(2, 5, 6, generator=generator) for _ in range(2))
    valid = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    alone = [alignment_loss(audio[:1], visual[:1], variant), alignment_loss(audio[1:, :2], visual[1:, :2], variant)]
    by_hand = (5 * alone[0] + 2 * alone[1]) / 7
    visual[1, 2:] = 0.0  # what is there has no influence, and no NaN comes of it
    audio.requires_grad_()
    loss = alignment_loss(audio, visual, variant, valid)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert audio.grad is not None
    assert audio.grad[1, 2:].eq(0).all()
    assert audio.grad.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clip_of_one_second_has_no_loss(variant: str) -> None:
    audio = F.normalize(torch.ones(1, 1, 3), dim=-1)
    assert alignment_loss(audio, audio, variant).item() == pytest.approx(0, abs=1e-6)


def test_unknown_variant() -> None:
    with pytest.raises(ValueError, match="alignment is 'avad', not one of ma, jomold"):
        alignment_loss(*two_seconds(), "avad")
