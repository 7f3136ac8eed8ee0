"""Attention building blocks shared by the encoder and the LEAP decoder.

Shapes: B batch, L query length, S key length, D width, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def window_mask(length: int, reach: int, device: torch.device | None = None) -> Tensor:
    """(L, L) bool, True where |i - j| <= reach: a segment sees `reach` seconds to each side."""
    index = torch.arange(length, device=device)
    return (index[:, None] - index[None, :]).abs() <= reach


def segment_mask(lengths: Tensor, length: int) -> Tensor:
    """(B, T) bool, True on the real segments of videos of the given lengths (B,)."""
    return torch.arange(length, device=lengths.device) < lengths[:, None]


class Dropout(nn.Module):
    """Dropout. On a CPU it draws 16 bits for each element where torch draws 64, one at a time: a fifth of its time.

    The rate is rounded to 1 / 65536, and what is kept is scaled by the rounded rate, so that the mean stays exact.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with H heads.

    forward: query (B, L, D), memory (B, S, D), mask broadcastable to (B, L, S), True = attend -> (B, L, D).
    A query (1, L, D) stands for the same in every row of the batch, and is projected once.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        attended = F.scaled_dot_product_attention(
            self._split(self.query(query)).expand(len(memory), -1, -1, -1),
            self._split(self.key(memory)),
            self._split(self.value(memory)),
            attn_mask=None if mask is None else mask.unsqueeze(-3),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output(attended.transpose(1, 2).flatten(2))

    def logits(self, query: Tensor, memory: Tensor) -> Tensor:
        """Mean over heads of Q K^T / sqrt(D / H), before any softmax or mask: (B, L, S)."""
        # The mean over heads of per-head products is one product over the whole width.
        scale = math.sqrt(query.shape[-1] / self.heads) * self.heads
        return self.query(query) @ self.key(memory).transpose(1, 2) / scale

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear; (..., D) -> (..., D)."""

    def __init__(self, dim: int, inner_dim: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, inner_dim), nn.ReLU(), Dropout(dropout), nn.Linear(inner_dim, dim))


class AttentionLayer(nn.Module):
    """The layer that MM-Pyr and the published LEAP are made of.

    ``x = q + drop(MHA(LN(q), m, m)); out = x + drop(FF(LN(x)))``. Only the query is normalised: keys, values
    and the outgoing stream are not (published program; the LEAP paper draws it otherwise).
    """

    def __init__(self, dim: int, inner_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, attention_dropout)
        self.feedforward = FeedForward(dim, inner_dim, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.transform(self.attend(query, memory, mask))

    def attend(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """The first half: the query with what it gathered from the memory, (B, L, D)."""
        return query + self.dropout(self.attention(self.attention_norm(query), memory, mask))

    def transform(self, x: Tensor) -> Tensor:
        """The second half: the feed-forward update, (B, L, D)."""
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))
