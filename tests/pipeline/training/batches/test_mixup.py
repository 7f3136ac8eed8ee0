"""Mixup: against UWAV's program, by hand, for LEAP, and what padding does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from avvp.models.decoder_output import ParserOutput
from avvp.models.losses import Objective, Targets, objective_terms, soft_targets
from avvp.models.mmil import MMILDecoder
from avvp.pipeline.training.batches.mixup import draw_share, mixed_segment_loss, mixed_videos, mixup_terms
from support.parsers import inputs, tiny_parser

SOFT = Objective(
    video_targets="weak", union="soft", segment_loss="logits", segment_targets="soft", mixup_alpha=1.7,
    audio_weight=0.0, visual_weight=0.0, similarity_weight=0.0,
)  # fmt: skip


def make_targets(batch: int, segments: int, classes: int = 4) -> Targets:
    generator = torch.Generator().manual_seed(4)
    soft = [torch.rand(batch, segments, classes, generator=generator, dtype=torch.float64) for _ in range(2)]
    hard = [(table > 0.5).double() for table in soft]
    return Targets(hard[0].amax(1), *hard, audio_soft=soft[0], visual_soft=soft[1])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixed_seconds_by_hand() -> None:
    decoder = MMILDecoder(tiny_parser(decoder="mmil").config)
    hidden, labels = torch.randn(3, 16, generator=generator()), torch.rand(3, 4, generator=generator(1))
    order = torch.tensor([2, 0, 1])
    probs = decoder.prob(0.3 * hidden + 0.7 * hidden[order]).sigmoid()

    def bce(targets: torch.Tensor) -> torch.Tensor:
        return -(targets * probs.log() + (1 - targets) * (1 - probs).log()).mean()

    expected = 0.3 * bce(labels) + 0.7 * bce(labels[order])
    torch.testing.assert_close(mixed_segment_loss(decoder, hidden, labels, 0.3, order), expected)


def test_mmil_mixes_the_real_seconds_of_each_modality() -> None:
    parser = tiny_parser(decoder="mmil")
    audio, visual_2d, visual_3d = inputs(3, 5)
    output = parser(audio, visual_2d, visual_3d, lengths=torch.tensor([5, 2, 4]))
    targets = make_targets(3, 5)
    terms = mixup_terms(parser, output, targets, SOFT, generator())
    assert set(terms) == {"audio_segment_mixup", "visual_segment_mixup"}
    assert targets.audio_soft is not None
    # Whatever is in the padding, of hidden states and of labels, has no influence.
    padded = ~output.valid[:, :, None]
    other = replace(output, audio_hidden=output.audio_hidden.masked_fill(padded, 9.0))
    relabelled = targets._replace(audio_soft=targets.audio_soft.masked_fill(padded, 1.0))
    again = mixup_terms(parser, other, relabelled, SOFT, generator())
    for name, value in terms.items():
        torch.testing.assert_close(again[name], value)
    halved = mixup_terms(parser, output, targets, replace(SOFT, mixup_weight=0.5), generator())
    torch.testing.assert_close(halved["audio_segment_mixup"], terms["audio_segment_mixup"] / 2)
    silent = mixup_terms(parser, output, targets, replace(SOFT, audio_segment_weight=0.0), generator())
    assert set(silent) == {"visual_segment_mixup"}


def test_leap_decodes_mixed_videos_again() -> None:
    parser = tiny_parser(decoder="leap")
    output, targets = parser(*inputs(3, 5)), make_targets(3, 5)
    order = torch.tensor([1, 2, 0])
    names = {"video_mixup", "audio_segment_mixup", "visual_segment_mixup"}
    whole = mixed_videos(parser, output, targets, SOFT, share=1.0, order=order)
    plain = objective_terms(output, targets, SOFT)
    assert set(whole) == names
    for name, value in plain.items():  # nothing of the others: the loss without mixup
        torch.testing.assert_close(whole[f"{name}_mixup"], value)
    other = mixed_videos(parser, output, targets, SOFT, share=0.0, order=order)
    for name in names:  # only the others, in another order: the same means
        torch.testing.assert_close(other[name], whole[name])
    mixed = mixed_videos(parser, output, targets, SOFT, share=0.5, order=order)
    assert all(abs(mixed[name].item() - whole[name].item()) > 1e-6 for name in names)
    assert set(mixup_terms(parser, output, targets, SOFT, generator())) == names


def test_mixed_videos_end_with_the_shorter_one() -> None:
    parser = tiny_parser(decoder="leap")
    audio, visual_2d, visual_3d = inputs(2, 5)
    targets, order = make_targets(2, 5), torch.tensor([1, 0])
    lengths = torch.tensor([5, 3])
    long = mixed_videos(
        parser, parser(audio, visual_2d, visual_3d, lengths=lengths), targets, SOFT, share=0.4, order=order
    )

    def shorter(output: ParserOutput) -> ParserOutput:
        return replace(
            output, audio_hidden=output.audio_hidden[:, :3], visual_hidden=output.visual_hidden[:, :3],
            valid=output.valid[:, :3],
        )  # fmt: skip

    cut = Targets(targets.video, *(None if table is None else table[:, :3] for table in targets[1:3]))
    assert targets.audio_soft is not None
    assert targets.visual_soft is not None
    cut = cut._replace(audio_soft=targets.audio_soft[:, :3], visual_soft=targets.visual_soft[:, :3])
    output = parser(audio, visual_2d, visual_3d, lengths=lengths)
    short = mixed_videos(parser, shorter(output), cut, SOFT, share=0.4, order=order)
    for name, value in short.items():
        torch.testing.assert_close(long[name], value)


def test_shares_are_those_of_the_distribution() -> None:
    stream = generator()
    shares = np.array([draw_share(1.7, stream) for _ in range(400)])
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 1.7 + 1)), rel=0.2)
    assert draw_share(1.7, generator(7)) == draw_share(1.7, generator(7))


def test_soft_targets_of_a_batch_are_those_of_the_loader() -> None:
    """The loader computes with numpy what the losses compute with torch."""
    teacher, thresholds = torch.tensor([[[1.0, -2.0]]]), torch.tensor([0.5, 0.0])
    expected = 1 / (1 + np.exp((thresholds.numpy() - teacher.numpy()) / 2))
    np.testing.assert_allclose(soft_targets(teacher, thresholds, torch.ones(1, 2)).numpy(), expected, rtol=1e-6)
