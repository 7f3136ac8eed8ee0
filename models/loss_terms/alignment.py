"""Alignment of sound and picture in time: each second of the sound finds the same second of the picture.

Shapes: B batch, T segments, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .binary import loss_dtype

TEMPERATURE = 0.2  # by which cosines are divided
SAME_SECOND = 0.9  # target of the same second; the others share the rest


def alignment_loss(audio: Tensor, visual: Tensor, variant: str, valid: Tensor | None = None) -> Tensor:
    """Compute the contrastive loss between the seconds of one clip, from sound to picture only.

    With ``p = softmax over the picture's seconds of cosine / 0.2`` and the target y, 0.9 for the same second and the
    rest spread over the others: "ma" is the mean of ``-sum y log p``, "jomold" the mean of ``-log sum y p``. A clip of
    one second has the loss 0.

    Args:
        audio: (B, T, D), encoded.
        visual: (B, T, D); for "ma" the stem's output, for "jomold" encoded.
        variant: one of `ALIGNMENTS`.
        valid: (B, T) bool, True on real segments, which alone count; None when there is no padding.

    Returns:
        Scalar, mean over the real seconds, at least float32.

    Raises:
        ValueError: the variant is unknown.

    Source:
        "ma": github.com/Yu-Wu/Modaily-Aware-Audio-Visual-Video-Parsing. "jomold": github.com/MCG-NJU/JoMoLD.
    """
    if variant not in ALIGNMENTS:
        raise ValueError(f"alignment is {variant!r}, not one of {', '.join(ALIGNMENTS)}")
    dtype = loss_dtype(audio)
    audio, visual = F.normalize(audio.to(dtype), dim=-1), F.normalize(visual.to(dtype), dim=-1)
    similarities = audio @ visual.transpose(1, 2) / TEMPERATURE
    if valid is None:
        valid = torch.ones(similarities.shape[:2], dtype=torch.bool, device=similarities.device)
    # Finite, so that rows and columns of padding have gradients of 0 instead of NaN.
    similarities = similarities.masked_fill(~valid[:, None, :], torch.finfo(dtype).min)
    losses = ALIGNMENTS[variant](similarities.log_softmax(dim=-1), _same_second(valid, dtype))
    return (losses * valid).sum() / valid.sum()


def _same_second(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the smoothed targets (B, T, T) of pairs of seconds; 0 where the picture's second is padding."""
    same = torch.eye(valid.shape[1], dtype=dtype, device=valid.device)
    others = (valid.sum(dim=1) - 1)[:, None, None]
    share = torch.where(others > 0, (1 - SAME_SECOND) / others.clamp(min=1), 0.0).to(dtype)
    main = torch.where(others > 0, SAME_SECOND, 1.0).to(dtype)
    return (same * main + (1 - same) * share) * valid[:, None, :]


def _cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """MA: cross-entropy to the smoothed targets, (B, T)."""
    return -(log_probs * targets).sum(dim=-1)


def _weighted_probability(log_probs: Tensor, targets: Tensor) -> Tensor:
    """JoMoLD: negative logarithm of the probability weighted by the smoothed targets, (B, T)."""
    return -(log_probs + targets.clamp(min=torch.finfo(targets.dtype).tiny).log()).logsumexp(dim=-1)


ALIGNMENTS = {"ma": _cross_entropy, "jomold": _weighted_probability}
