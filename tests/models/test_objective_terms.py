"""Terms of the objective that other systems than LEAP need: what they read, when they are there, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from avvp.models.decoder_output import ParserOutput
from avvp.models.losses import (
    Objective,
    Targets,
    across_loss,
    alignment_loss,
    labelled_rows,
    objective_terms,
    pool_by_labels,
    segment_bce,
    segment_weights,
    token_loss,
)
from support.parsers import inputs, tiny_parser
from support.training import WEAK

CLASSES = 4


def parse(batch: int, segments: int = 5, lengths: list[int] | None = None) -> ParserOutput:
    parser = tiny_parser(decoder="mmil")
    return parser(*inputs(batch, segments), lengths=None if lengths is None else torch.tensor(lengths))


def table(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weak(**changes: Any) -> Objective:
    return Objective(**{**WEAK, **changes})


@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
def test_alignment(lengths: list[int] | None) -> None:
    output, targets = parse(3, lengths=lengths), Targets(table(3, CLASSES).round())
    ma = objective_terms(output, targets, weak(alignment="ma", alignment_weight=0.5))["alignment"]
    assert output.visual_projected is not None
    torch.testing.assert_close(
        ma, 0.5 * alignment_loss(output.audio_hidden, output.visual_projected, "ma", output.valid)
    )
    jomold = objective_terms(output, targets, weak(alignment="jomold", alignment_weight=1.0))["alignment"]
    torch.testing.assert_close(
        jomold, alignment_loss(output.audio_hidden, output.visual_hidden, "jomold", output.valid)
    )


def test_tokens() -> None:
    tokens = table(2, CLASSES, CLASSES)
    output = replace(parse(2), audio_token_logits=tokens, visual_token_logits=-tokens)
    terms = objective_terms(output, Targets(table(2, CLASSES).round()), weak(token_weight=2.0))
    torch.testing.assert_close(terms["audio_tokens"], 2 * token_loss(tokens))
    torch.testing.assert_close(terms["visual_tokens"], 2 * token_loss(-tokens))


def test_pairs_count_for_the_contrast_alone() -> None:
    audio, visual_2d, visual_3d = inputs(3, 5)
    partners = torch.tensor([1, 2, 0])
    parser = tiny_parser(decoder="mmil")
    pictures = (torch.cat([stream, stream[partners]]) for stream in (visual_2d, visual_3d))
    output = replace(parser(torch.cat([audio, audio]), *pictures))
    pooling = [table(6, 5, CLASSES, seed=seed) for seed in (5, 6)]
    output = replace(output, audio_pooling_logits=pooling[0], visual_pooling_logits=pooling[1])
    of_audio, of_visual = table(3, CLASSES).round(), table(3, CLASSES, seed=8).round()
    targets = Targets(torch.maximum(of_audio, of_visual), audio=of_audio, visual=of_visual, partners=partners)
    objective = weak(across_weight=0.85, video_targets="modalities")
    terms = objective_terms(output, targets, objective)
    alone = objective_terms(labelled_rows(output, targets), targets._replace(partners=None), weak())
    for name in ("audio", "visual"):
        torch.testing.assert_close(terms[name], alone[name])
    audio_labels = torch.cat([of_audio, of_audio])
    visual_labels = torch.cat([of_visual, of_visual[partners]])
    expected = across_loss(
        pool_by_labels(output.audio_hidden, pooling[0], audio_labels),
        pool_by_labels(output.visual_hidden, pooling[1], visual_labels),
        audio_labels,
        visual_labels,
    )
    torch.testing.assert_close(terms["across"], 0.85 * expected)


def test_soft_targets_and_balance() -> None:
    output = parse(2, lengths=[5, 3])
    hard, soft = table(2, 5, CLASSES).round(), table(2, 5, CLASSES, seed=9)
    shares = torch.tensor([0.1, 0.2, 0.3, 0.05])
    video = table(2, CLASSES, seed=1).round()
    targets = Targets(video, hard, hard, audio_soft=soft, visual_soft=1 - soft, audio_frequency=shares,
                      visual_frequency=shares / 2)  # fmt: skip
    objective = Objective(segment_targets="soft", class_balance=0.5)
    terms = objective_terms(output, targets, objective)
    weights = segment_weights(video, shares, 0.5)
    torch.testing.assert_close(
        terms["audio_segment"], segment_bce(output.audio_segment_probs, soft, output.valid, weights)
    )
    weights = segment_weights(video, shares / 2, 0.5)
    torch.testing.assert_close(
        terms["visual_segment"], segment_bce(output.visual_segment_probs, 1 - soft, output.valid, weights)
    )
    # Targets of the video stay those of the hard labels.
    torch.testing.assert_close(terms["audio"], objective_terms(output, targets, Objective())["audio"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment_targets": "soft"}, "objective.segment_targets = 'soft' needs audio_soft"),
        ({"class_balance": 0.5}, "objective.class_balance needs audio_frequency"),
        ({"token_weight": 1.0}, "objective.token_weight needs tokens"),
        ({"across_weight": 1.0}, "objective.across_weight needs pooling_logits"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], message: str) -> None:
    labels = table(2, 5, CLASSES).round()
    output = replace(parse(2), audio_pooling_logits=None)
    objective = Objective(visual_segment_weight=0.0, **changes)
    with pytest.raises(ValueError, match=message):
        objective_terms(output, Targets(labels.amax(1), labels, labels), objective)


def test_an_objective_changes_with_the_epoch() -> None:
    objective = weak(smoothing_epochs=2, across_weight=0.85, across_after=2)
    first, later = objective.at(1), objective.at(2)
    assert (first.visual_smoothing, first.across_weight) == (0.1, 0.0)
    assert (later.visual_smoothing, later.across_weight) == (0.0, 0.85)
    assert weak().at(7) == weak()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignment_weight": 1.0}, "alignment_weight needs alignment = 'ma' or 'jomold'"),
        ({"soft_temperature": 0.0}, "soft_temperature is 0.0; it must be above 0"),
        ({"segment_targets": "soft"}, "segment_targets = 'soft' needs a positive audio_segment_weight"),
        ({"mixup_alpha": 1.7}, "mixup_alpha needs a positive audio_segment_weight"),
        ({"across_after": -1}, "across_after is -1"),
        ({"smoothing_epochs": 20_000}, "smoothing_epochs is 20000"),
        (
            {"across_weight": 1.0, "across_after": 2, "audio_weight": 0.0, "visual_weight": 0.0, "video_weight": 0.0},
            "every weight is 0",
        ),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weak(**changes)


def test_mixup_needs_a_weight() -> None:
    with pytest.raises(ValueError, match="mixup_alpha needs a positive mixup_weight"):
        Objective(mixup_alpha=1.0, mixup_weight=0.0)
