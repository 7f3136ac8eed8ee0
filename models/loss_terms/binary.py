"""Binary cross-entropy of probabilities and logits, clamped as in the published programs.

Shapes: B batch, T segments, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_PROB_MARGIN = 1e-7  # probabilities are clamped this far from 0 and 1, as in every published program


def bce(probs: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean binary cross-entropy of probabilities, clamped as in the published programs.

    Args:
        probs: probabilities, any shape.
        targets: 0 to 1, same shape.

    Returns:
        Scalar, at least float32.
    """
    return elementwise_bce(probs, targets).mean()


def segment_bce(probs: Tensor, targets: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the mean binary cross-entropy of clamped probabilities over the real segments.

    Args:
        probs: (B, T, C).
        targets: (B, T, C), 0 to 1.
        valid: (B, T) bool, True on real segments.
        weights: of the elements, broadcastable to (B, T, C); None weighs all alike.

    Returns:
        Scalar, at least float32.
    """
    return mean_over_segments(elementwise_bce(probs, targets), valid, weights)


def segment_bce_with_logits(logits: Tensor, targets: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the mean binary cross-entropy of logits over the real segments, without clamping.

    Args:
        logits: (B, T, C).
        targets: (B, T, C), 0 to 1.
        valid: (B, T) bool, True on real segments.
        weights: of the elements, broadcastable to (B, T, C); None weighs all alike.

    Returns:
        Scalar, at least float32.

    Source:
        github.com/Franklin905/VALOR.
    """
    dtype = loss_dtype(logits)
    losses = F.binary_cross_entropy_with_logits(logits.to(dtype), targets.to(dtype), reduction="none")
    return mean_over_segments(losses, valid, weights)


def smooth(targets: Tensor, amount: float) -> Tensor:
    """Smooth labels: ``(1 - s) y + s / 2``.

    Args:
        targets: y, 0 or 1, any shape.
        amount: s, 0 to 1.

    Returns:
        Smoothed labels of the same shape.

    Source:
        github.com/YapengTian/AVVP-ECCV20, which smooths the visual targets with s = 0.1.
    """
    return targets if not amount else (1 - amount) * targets + amount / 2


def mean_over_segments(losses: Tensor, valid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the mean of weighted losses (B, T, C) over the real segments, where valid (B, T) is True."""
    losses = losses if weights is None else losses * weights
    return (losses * valid[:, :, None]).sum() / (valid.sum() * losses.shape[-1])


def elementwise_bce(probs: Tensor, targets: Tensor) -> Tensor:
    """Compute the binary cross-entropy of each element.

    NaN gives NaN; torch's own function raises an error instead, which on a GPU aborts the process's CUDA context.
    """
    probs = probs.to(loss_dtype(probs)).clamp(_PROB_MARGIN, 1 - _PROB_MARGIN)
    return -(targets * probs.log() + (1 - targets) * torch.log1p(-probs))


def loss_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of the losses: at least float32, whatever precision the parser ran in."""
    return torch.promote_types(tensor.dtype, torch.float32)
