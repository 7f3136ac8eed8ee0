"""The training objectives, by hand and against the published program."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from avvp.models import AVParser, load_published
from avvp.models.files.published_parsers import FAMILIES
from avvp.models.leap import hard_union, soft_union
from avvp.models.losses import (
    Objective,
    Targets,
    bce,
    cosine_similarities,
    eiou,
    objective_terms,
    published_similarity_target,
    segment_bce,
    segment_bce_with_logits,
    smooth,
)
from support.golden import load_json, load_npz, needs_golden, parser_inputs, parser_targets
from support.parsers import inputs, published_state, tiny_parser
from support.training import WEAK

TERMS = ("audio", "visual", "video", "visual_segment", "audio_segment", "similarity")


def rows(*labels: list[int]) -> torch.Tensor:
    return torch.tensor([labels]).float()


def segment_targets(targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
    assert targets.audio_segments is not None
    assert targets.visual_segments is not None
    return targets.audio_segments, targets.visual_segments


def targets_for(parser: AVParser, batch: int = 2, segments: int = 5) -> Targets:
    generator = torch.Generator().manual_seed(4)
    shape = (batch, segments, len(parser.config.labels))
    audio, visual = (torch.rand(shape, generator=generator).lt(0.3).float() for _ in range(2))
    return Targets(torch.rand(shape[0], shape[2], generator=generator).lt(0.5).float(), audio, visual)


def test_bce_by_hand() -> None:
    got = bce(torch.tensor([0.5, 0.9]), torch.tensor([1.0, 0.0]))
    assert got.item() == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)
    sure_and_wrong = bce(torch.tensor([1.0]), torch.tensor([0.0])).item()
    assert sure_and_wrong == pytest.approx(-math.log(2**-23), rel=1e-3)  # what float32 makes of 1 - (1 - 1e-7)


def test_bce_of_nan_is_nan() -> None:
    assert bce(torch.tensor([float("nan"), 0.5]), torch.ones(2)).isnan()


def test_segment_bce_ignores_padding() -> None:
    probs = torch.tensor([[[0.5], [0.25]], [[0.9], [0.99]]])
    valid = torch.tensor([[True, True], [True, False]])
    targets = torch.tensor([[[1.0], [0.0]], [[1.0], [0.0]]])
    by_hand = -(math.log(0.5) + math.log(0.75) + math.log(0.9)) / 3
    assert segment_bce(probs, targets, valid).item() == pytest.approx(by_hand)
    assert segment_bce_with_logits(probs.logit(), targets, valid).item() == pytest.approx(by_hand)


def test_segment_bce_with_logits_has_a_gradient_where_clamped_probabilities_have_none() -> None:
    valid, targets = torch.tensor([[True]]), torch.zeros(1, 1, 1)
    gradients = []
    for loss in (
        lambda x: segment_bce(x.sigmoid(), targets, valid),
        lambda x: segment_bce_with_logits(x, targets, valid),
    ):
        logits = torch.tensor([[[40.0]]], requires_grad=True)
        loss(logits).backward()
        assert logits.grad is not None
        gradients.append(logits.grad.item())
    assert gradients == [0, pytest.approx(1)]


def test_smooth_by_hand() -> None:
    assert smooth(torch.tensor([0.0, 1.0]), 0.1).tolist() == pytest.approx([0.05, 0.95])
    assert smooth(torch.tensor([0.0, 1.0]), 0.0).tolist() == [0, 1]


def test_unions() -> None:
    audio, visual = torch.tensor([0.5, 0.4, 0.4], requires_grad=True), torch.tensor([0.0, 0.5, 0.4])
    assert hard_union(audio, visual).tolist() == [1, 1, 0]
    assert not hard_union(audio, visual).requires_grad
    assert soft_union(audio, visual).tolist() == pytest.approx([0.5, 0.7, 0.64])
    assert soft_union(audio, visual).requires_grad


def test_eiou_by_hand() -> None:
    audio = rows([1, 1, 0], [0, 0, 0], [0, 0, 1])
    visual = rows([1, 0, 0], [0, 0, 0], [1, 1, 1])
    expected = [[1 / 2, 0, 2 / 3], [0, 0, 0], [0, 0, 1 / 3]]  # two empty segments get 0
    torch.testing.assert_close(eiou(audio, visual)[0], torch.tensor(expected))


def test_published_similarity_target_by_hand() -> None:
    audio, visual = rows([1, 1, 0], [0, 0, 1]), rows([1, 0, 0], [1, 1, 0])
    shares = torch.tensor([[1 / 2, 2 / 2], [0, 0]])  # the fullest segment of the video has two events
    torch.testing.assert_close(published_similarity_target(audio, visual)[0], shares / (1 + shares) + 0.01)
    nothing = torch.zeros(1, 2, 3)
    assert published_similarity_target(nothing, nothing, 0.0).eq(0).all()


def test_cosine_similarities_are_clamped_at_zero() -> None:
    audio, visual = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1.0, 1.0], [-1.0, 0.0]]])
    torch.testing.assert_close(cosine_similarities(audio, visual), torch.tensor([[[math.sqrt(0.5), 0.0]]]))


def test_weak_labels_by_hand() -> None:
    """HAN and MM-Pyr: BCE(audio, y) + BCE(visual, 0.9 y + 0.05) + BCE(video, y)."""
    parser = tiny_parser(decoder="mmil")
    output = parser(*inputs(2, 5))
    y = targets_for(parser).video
    terms = objective_terms(output, Targets(y), Objective(**WEAK))
    expected = {
        "audio": bce(output.audio_video_probs, y),
        "visual": bce(output.visual_video_probs, 0.9 * y + 0.05),
        "video": bce(output.video_probs, y),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_valor_by_hand() -> None:
    """BCE(video, y) and BCE on the logits of the segments."""
    parser = tiny_parser(encoder="han", decoder="mmil", han_order="sequential")
    output, targets = parser(*inputs(2, 5)), targets_for(parser)
    objective = Objective(
        video_targets="weak", segment_loss="logits", audio_weight=0.0, visual_weight=0.0, similarity_weight=0.0
    )
    terms = objective_terms(output, targets, objective)
    logits = torch.nn.functional.binary_cross_entropy_with_logits
    audio, _ = segment_targets(targets)
    torch.testing.assert_close(terms["video"], bce(output.video_probs, targets.video))
    torch.testing.assert_close(terms["audio_segment"], logits(output.audio_segment_logits, audio.double()))
    assert set(terms) == {"video", "audio_segment", "visual_segment"}


def test_video_targets_of_pseudo_labels_are_any_over_time() -> None:
    parser = tiny_parser(leap_variant="paper")
    output, targets = parser(*inputs(2, 5)), targets_for(parser)
    terms = objective_terms(output, targets, Objective(union="soft", similarity="eiou"))
    audio, visual = segment_targets(targets)
    torch.testing.assert_close(terms["audio"], bce(output.audio_video_probs, audio.amax(1)))
    torch.testing.assert_close(terms["video"], bce(output.video_probs, torch.maximum(audio, visual).amax(1)))
    difference = cosine_similarities(output.audio_hidden, output.visual_hidden) - eiou(audio, visual)
    torch.testing.assert_close(terms["similarity"], difference.square().mean())


@pytest.mark.parametrize("changes", [{}, {"decoder": "mmil"}, {"encoder": "han"}])
def test_objective_of_a_padded_batch_equals_that_of_its_clips(changes: dict) -> None:
    """The segment terms weighted by the clips' segments, the similarity by their pairs of segments."""
    parser, lengths = tiny_parser(**changes), torch.tensor([5, 2])
    whole, targets = inputs(2, 5), targets_for(tiny_parser(**changes))
    audio, visual = (part * (torch.arange(5) < lengths[:, None])[:, :, None] for part in segment_targets(targets))
    together = objective_terms(
        parser(*whole, lengths=lengths), Targets(targets.video, audio, visual), Objective(union="soft")
    )
    sums = dict.fromkeys(("audio_segment", "visual_segment", "similarity"), 0.0)
    for row, length in enumerate(lengths.tolist()):
        alone = parser(*(part[row : row + 1, : length * rate] for part, rate in zip(whole, (1, 8, 1), strict=True)))
        own = Targets(targets.video[row : row + 1], audio[row : row + 1, :length], visual[row : row + 1, :length])
        terms = objective_terms(alone, own, Objective(union="soft"))
        for name in sums:
            weights = lengths.double() ** (2 if name == "similarity" else 1)
            sums[name] += (terms[name] * weights[row] / weights.sum()).item()
    for name, expected in sums.items():
        assert together[name].item() == pytest.approx(expected, abs=1e-6)


def test_objective_weights_scale_terms_and_zero_omits_them() -> None:
    parser = tiny_parser()
    output, targets = parser(*inputs(2, 5)), targets_for(parser)
    one = objective_terms(output, targets, Objective())
    other = objective_terms(output, targets, Objective(similarity_weight=2.0, video_weight=0.0))
    torch.testing.assert_close(other["similarity"], 2 * one["similarity"])
    assert "video" not in other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": "strong"}, "targets is 'strong'"),
        ({"union": "x"}, "union"),
        ({"similarity": "x"}, "published, eiou"),
        ({"video_weight": -1.0}, "not negative"),
        ({"similarity_weight": float("nan")}, "not negative"),
        ({f"{term}_weight": 0.0 for term in TERMS}, "every weight is 0"),
        ({"visual_smoothing": 1.5}, "smoothing"),
        ({"targets": "weak"}, "has no segment labels"),
    ],
)
def test_objective_rejects_invalid_settings(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**changes)


@needs_golden
def test_eiou_golden() -> None:
    expected = load_npz("leap_official.npz")["eiou"]
    got = eiou(*parser_targets()).numpy()
    empty = np.isnan(expected)
    np.testing.assert_allclose(got[~empty], expected[~empty], atol=1e-7)
    assert (got[empty] == 0).all()


def golden_parser() -> AVParser:
    embeddings = torch.from_numpy(load_npz("leap_official.npz")["label_embeddings"])
    return load_published(published_state(), family="leap", label_embeddings=embeddings)


def golden_terms(parser: AVParser) -> dict[str, torch.Tensor]:
    audio, visual = parser_targets()
    targets = Targets(torch.maximum(audio.amax(1), visual.amax(1)), audio, visual)
    return objective_terms(parser(*parser_inputs()), targets, Objective())


@needs_golden
def test_objective_terms_and_gradients_golden() -> None:
    parser = golden_parser()
    terms = golden_terms(parser)
    assert tuple(terms) == TERMS
    got = [term.item() for term in terms.values()]
    np.testing.assert_allclose(got, load_npz("leap_official.npz")["loss/terms"], rtol=1e-4)
    torch.stack(list(terms.values())).sum().backward()
    parameters = dict(parser.named_parameters())
    compared = 0
    for key, norm in load_json("leap_official.json")["grad_norms"].items():
        if norm is None:
            continue
        name = FAMILIES["leap"].map_key(re.sub(r"\.conv([12])\.", lambda m: f".net.{2 * int(m[1]) - 2}.", key))
        gradient = parameters[name or ""].grad
        assert gradient is not None
        # A bias of keys moves all logits of a query alike: its gradient is 0, and what is measured is rounding.
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6), key
        compared += 1
    assert compared == len(parameters)


@needs_golden
def test_adam_losses_golden() -> None:
    """Six steps at 1e-4 with the optimizer that training uses."""
    parser = golden_parser()
    optimizer = torch.optim.Adam(parser.parameters(), lr=1e-4, fused=True)
    for expected in load_npz("leap_official.npz")["train/losses"]:
        terms = torch.stack(list(golden_terms(parser).values()))
        np.testing.assert_allclose([*terms.tolist(), terms.sum().item()], expected, rtol=1e-3)
        optimizer.zero_grad()
        terms.sum().backward()
        optimizer.step()
