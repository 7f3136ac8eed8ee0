"""Pooling over the real segments of padded batches."""

from __future__ import annotations

import torch
from torch import Tensor

_TOP = 4  # segments of the mean in CMBS


def masked_max(x: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the maximum over time, (B, T, C) -> (B, C); valid (B, T) bool is True on real segments."""
    return (x if valid is None else x.masked_fill(~valid[..., None], float("-inf"))).amax(dim=1)


def masked_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the mean over time; arguments and result as in `masked_max`."""
    if valid is None:
        return x.mean(dim=1)
    return x.masked_fill(~valid[..., None], 0).sum(dim=1) / valid.sum(dim=1, keepdim=True)


def top_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the mean of the four largest values over time, of all where there are fewer; as `masked_max`.

    Source:
        github.com/marmot-xy/CMBS.
    """
    count = min(_TOP, x.shape[1])
    if valid is None:
        return x.topk(count, dim=1).values.mean(dim=1)
    largest = x.masked_fill(~valid[..., None], float("-inf")).topk(count, dim=1).values
    is_real = torch.arange(count, device=x.device) < valid.sum(dim=1, keepdim=True)
    return masked_mean(largest, is_real)
