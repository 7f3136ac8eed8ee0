"""UWAV's losses of segments: targets between 0 and 1 from a teacher's scores, classes balanced by their frequency.

Shapes: B batch, T segments, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .binary import loss_dtype, segment_bce_with_logits

TEMPERATURE = 2.0  # of the published program; the paper has none
Frequency = float | Sequence[float] | NDArray[np.floating] | Tensor


def soft_targets(
    teacher_logits: Tensor,
    thresholds: Tensor,
    weak: Tensor,
    temperature: float = TEMPERATURE,
    valid: Tensor | None = None,
) -> Tensor:
    """Compute the probability that a teacher gives to each segment label: ``sigmoid((z - threshold) / temperature)``.

    Args:
        teacher_logits: (B, T, C), z.
        thresholds: (C,) of the teacher's logits; -inf stands for the lowest logit of the class in the batch, less 1.
        weak: (B, C), 1 for the classes of the clip; the others get 0.
        temperature: above 0.
        valid: (B, T) bool, True on real segments, among which the lowest logit is sought; None when there is no
            padding.

    Returns:
        (B, T, C) in [0, 1], at least float32.

    Source:
        The program of UWAV.
    """
    dtype = loss_dtype(teacher_logits)
    logits, thresholds = teacher_logits.to(dtype), thresholds.to(dtype)
    real = logits if valid is None else logits.masked_fill(~valid[:, :, None], float("inf"))
    thresholds = torch.where(thresholds.isneginf(), real.amin(dim=(0, 1)) - 1, thresholds)
    return ((logits - thresholds) / temperature).sigmoid() * weak[:, None, :].to(dtype)


def segment_weights(weak: Tensor, frequency: Frequency, positive_weight: float) -> Tensor:
    """Compute the weight of each class in each video: ``W (C - f)`` where the video has it, f elsewhere.

    Args:
        weak: (B, C), 1 for the classes of the clip, else 0.
        frequency: share of the training seconds in which each class is active, (C,) or their sum f.
        positive_weight: W.

    Returns:
        (B, 1, C), at least float32.

    Source:
        The program of UWAV; the paper divides both by C.
    """
    dtype = loss_dtype(weak)
    total = torch.as_tensor(frequency, dtype=dtype, device=weak.device).sum()
    classes = weak.shape[-1]
    return torch.where(weak > 0, positive_weight * (classes - total), total)[:, None, :]


def uncertain_segment_loss(  # noqa: PLR0917 - public signature
    logits: Tensor,
    teacher_logits: Tensor,
    thresholds: Tensor,
    weak: Tensor,
    frequency: Frequency | None = None,
    positive_weight: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Compute the binary cross-entropy of segments to the `soft_targets` of a teacher.

    Args:
        logits: (B, T, C) of the parser.
        teacher_logits: (B, T, C).
        thresholds: (C,) of the teacher's logits, see `soft_targets`.
        weak: (B, C), 1 for the classes of the clip, else 0.
        frequency: for `segment_weights`; None weighs all alike.
        positive_weight: for `segment_weights`; the published program uses 0.5.
        valid: (B, T) bool, True on real segments, which alone count; None when there is no padding.

    Returns:
        Scalar, mean over the real segments and C, at least float32.

    Source:
        Lai et al., UWAV, CVPR 2025, and its program.
    """
    weights = None if frequency is None else segment_weights(weak, frequency, positive_weight)
    if valid is None:
        valid = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    targets = soft_targets(teacher_logits, thresholds, weak, valid=valid)
    return segment_bce_with_logits(logits, targets, valid, weights)
