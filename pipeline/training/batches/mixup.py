"""Mixup of encoded segments, as UWAV does it for MMIL; and of whole encoded videos for LEAP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ....models.decoder_output import ParserOutput
from ....models.encoded import Encoded
from ....models.losses import Objective, Targets, objective_terms, segment_bce_with_logits, segment_targets
from ....models.mmil import MMILDecoder
from ....models.parser import AVParser

MIXED_DECODERS = ("mmil", "leap")
_MODALITIES = ("audio", "visual")


def mixup_terms(
    parser: AVParser, output: ParserOutput, targets: Targets, objective: Objective, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compute the loss terms of mixed segments, with the parser's decoder.

    MMIL: for each modality the real seconds of the batch are mixed with each other, as published. LEAP has no
    classifier of single segments: whole encoded videos are mixed second by second and decoded again, with all terms
    of the objective that compare predictions with labels. That is a design of this program, not a published one.

    Args:
        parser: in training mode; its decoder is one of `MIXED_DECODERS`.
        output: of the parser.
        targets: of the same batch.
        objective: with `mixup_alpha` above 0.
        generator: of the shares and the order, on the CPU.

    Returns:
        Term name ("audio_segment_mixup", "visual_segment_mixup"; LEAP: each term with "_mixup") -> weighted scalar.

    Source:
        Lai et al., UWAV, CVPR 2025, and its program.
    """
    if isinstance(parser.decoder, MMILDecoder):
        return _mixed_segments(parser.decoder, output, targets, objective, generator)
    share = draw_share(objective.mixup_alpha, generator)
    order = draw_order(len(targets.video), generator).to(targets.video.device)
    return mixed_videos(parser, output, targets, objective, share=share, order=order)


def draw_share(alpha: float, generator: torch.Generator) -> float:
    """Draw the share of the first of two mixed things from Beta(alpha, alpha)."""
    seed = int(torch.randint(2**62, (), generator=generator))  # torch's Beta takes no generator
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def draw_order(count: int, generator: torch.Generator) -> Tensor:
    """Draw the order (N,) of the things that others are mixed with."""
    return torch.randperm(count, generator=generator)


def _mixed_segments(
    decoder: MMILDecoder, output: ParserOutput, targets: Targets, objective: Objective, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the terms of seconds mixed in each modality, with one share and one order a modality."""
    terms = {}
    for modality in _MODALITIES:
        if not getattr(objective, f"{modality}_segment_weight"):
            continue
        share = draw_share(objective.mixup_alpha, generator)
        order = draw_order(int(output.valid.sum()), generator).to(output.valid.device)
        labels = segment_targets(targets, objective, modality)
        hidden = getattr(output, f"{modality}_hidden")
        loss = mixed_segment_loss(decoder, hidden[output.valid], labels[output.valid], share, order)
        terms[f"{modality}_segment_mixup"] = objective.mixup_weight * loss
    return terms


def mixed_segment_loss(decoder: MMILDecoder, hidden: Tensor, labels: Tensor, share: float, order: Tensor) -> Tensor:
    """Compute the binary cross-entropy of mixed seconds to the labels of both, by their shares.

    Args:
        decoder: whose classifier of segments is used.
        hidden: (N, D), encoded seconds.
        labels: (N, C), 0 to 1.
        share: of a second; the rest is of the one that it is mixed with.
        order: (N,) indices of the others.

    Returns:
        Scalar, at least float32.
    """
    hidden = hidden.to(decoder.prob.weight.dtype)
    logits = decoder.prob(share * hidden + (1 - share) * hidden[order])[None]
    valid = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    own, other = (segment_bce_with_logits(logits, table[None], valid) for table in (labels, labels[order]))
    return share * own + (1 - share) * other


def mixed_videos(
    parser: AVParser, output: ParserOutput, targets: Targets, objective: Objective, *, share: float, order: Tensor
) -> dict[str, Tensor]:
    """Return the terms of whole encoded videos that are mixed second by second and decoded again.

    Args:
        parser: in training mode.
        output: of the parser.
        targets: of the same batch.
        objective: its terms that compare predictions with labels are used, without class balance.
        share: of a video; the rest is of the one that it is mixed with.
        order: (B,) indices of the others. Seconds that only one of the two has are padding.

    Returns:
        The terms with "_mixup" at the end of their names, weighted.
    """
    valid = output.valid & output.valid[order]
    dtype = next(parser.parameters()).dtype
    audio, visual = (
        share * hidden.to(dtype) + (1 - share) * hidden[order].to(dtype)
        for hidden in (output.audio_hidden, output.visual_hidden)
    )
    mixed = parser.decode(Encoded(audio, visual, audio, visual), None if bool(valid.all()) else valid)
    plain = replace(
        objective, similarity_weight=0.0, alignment_weight=0.0, token_weight=0.0, across_weight=0.0, across_after=0,
        class_balance=0.0,
    )  # fmt: skip
    own, other = (objective_terms(mixed, _cut(table, valid), plain) for table in (targets, _reordered(targets, order)))
    scale = objective.mixup_weight
    return {f"{name}_mixup": scale * (share * own[name] + (1 - share) * other[name]) for name in own}


_OF_CLASSES = ("audio_frequency", "visual_frequency", "partners")  # fields of targets that are not rows of clips


def _reordered(targets: Targets, order: Tensor) -> Targets:
    """Return the targets of other clips of the batch."""
    rows = {name: table for name, table in targets._asdict().items() if table is not None and name not in _OF_CLASSES}
    return targets._replace(**{name: table[order] for name, table in rows.items()}, partners=None)


def _cut(targets: Targets, valid: Tensor) -> Targets:
    """Return the targets without labels of segments that are padding in the mixed videos."""
    names = ("audio_segments", "visual_segments", "audio_soft", "visual_soft")
    segments = {name: table for name in names if (table := getattr(targets, name)) is not None}
    return targets._replace(**{name: table * valid[:, :, None] for name, table in segments.items()}, partners=None)
