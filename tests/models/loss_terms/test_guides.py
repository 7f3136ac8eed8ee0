"""The losses of a network and its guides, against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from avvp.models.losses import Objective, Targets, guidance_losses, objective_terms
from support.parsers import inputs, tiny_parser

ALONE = {
    "targets": "weak", "video_targets": "weak", "audio_weight": 0.0, "visual_weight": 0.0, "video_weight": 0.0,
    "audio_segment_weight": 0.0, "visual_segment_weight": 0.0, "similarity_weight": 0.0,
}  # fmt: skip


def test_guidance_losses_by_hand() -> None:
    audio, visual = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.5, 0.0]])
    losses = guidance_losses(audio, visual, torch.tensor([[0.1, 1.0]]), torch.tensor([[0.5, 0.2]]))
    expected = {"audio_guidance": 0.08, "visual_guidance": 0.02, "separation": -0.5, "guide_separation": -0.4}
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected)


def test_guides_do_not_learn_from_the_network() -> None:
    tensors = [torch.full((1, 2), value, requires_grad=True) for value in (0.2, 0.4, 0.6, 0.9)]
    losses = guidance_losses(*tensors)
    (losses["audio_guidance"] + losses["visual_guidance"] + losses["separation"]).backward()
    assert [tensor.grad is None for tensor in tensors] == [False, False, True, True]
    losses["guide_separation"].backward()
    assert all(tensor.grad is not None for tensor in tensors)


def test_objective_with_guides() -> None:
    with torch.no_grad():
        output = tiny_parser(encoder="han", decoder="mmil", guides=True)(*inputs(2, 3))
    video = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 1.0]]).double()
    smoothed = objective_terms(output, Targets(video), Objective(**ALONE, guide_weight=2.0, visual_guide_smoothing=0.1))
    plain = objective_terms(output, Targets(video), Objective(**ALONE, guide_weight=1.0))
    assert list(plain) == [
        "audio_guide", "visual_guide", "audio_guidance", "visual_guidance", "separation", "guide_separation",
    ]  # fmt: skip
    assert output.visual_guide_probs is not None
    probs, target = output.visual_guide_probs, 0.9 * video + 0.05
    expected = -(target * probs.log() + (1 - target) * (1 - probs).log()).mean()
    assert float(smoothed["visual_guide"]) == pytest.approx(2 * float(expected))
    for name in set(plain) - {"visual_guide"}:
        assert float(smoothed[name]) == pytest.approx(2 * float(plain[name])), name
    assert all(math.isfinite(float(term)) for term in plain.values())


def test_objective_needs_the_guides_that_it_weighs() -> None:
    output = tiny_parser(encoder="han", decoder="mmil")(*inputs(2, 3))
    with pytest.raises(ValueError, match=r"guide_weight needs guides \(model.guides\)"):
        objective_terms(output, Targets(torch.zeros(2, 4).double()), Objective(**ALONE, guide_weight=1.0))
    with pytest.raises(ValueError, match="visual_guide_smoothing needs a positive guide_weight"):
        Objective(visual_guide_smoothing=0.1)


def test_removed_labels_are_smoothed_on_request_only() -> None:
    """Without, the target of a removed label is 0, that of a label that the video never had is half the smoothing."""
    with torch.no_grad():
        output = tiny_parser(encoder="han", decoder="mmil")(*inputs(1, 3))
    video, kept = torch.tensor([[1.0, 1, 0, 0]]).double(), torch.tensor([[1.0, 0, 0, 0]]).double()
    for smooth_removed, removed in ((False, 0.0), (True, 0.05)):
        objective = Objective(**{**ALONE, "visual_weight": 1.0}, visual_smoothing=0.1, smooth_removed=smooth_removed)
        terms = objective_terms(output, Targets(video, visual=kept), objective)
        probs, target = output.visual_video_probs, torch.tensor([[0.95, removed, 0.05, 0.05]]).double()
        expected = -(target * probs.log() + (1 - target) * (1 - probs).log()).mean()
        assert float(terms["visual"]) == pytest.approx(float(expected))
