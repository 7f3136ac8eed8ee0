"""Classification of MGN's learned tokens: the token of a class must be recognised as that class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .binary import loss_dtype


def token_loss(logits: Tensor) -> Tensor:
    """Compute the mean cross-entropy of token i to class i.

    Args:
        logits: (B, C, C) or (C, C), of each token a row.

    Returns:
        Scalar, at least float32.

    Source:
        Mo and Tian: Multi-modal Grouping Network for Weakly-Supervised Audio-Visual Video Parsing, NeurIPS 2022;
        github.com/stoneMo/MGN.
    """
    classes = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape[:-1])
    return F.cross_entropy(logits.to(loss_dtype(logits)).flatten(0, -2), classes.flatten())
