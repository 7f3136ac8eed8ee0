"""Attention building blocks shared by the encoders and the LEAP decoder.

Shapes: B batch, T segments, L query length, S key length, D width, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def window_mask(length: int, reach: int, device: torch.device | None = None) -> Tensor:
    """Return the mask that limits attention to `reach` segments on each side.

    Args:
        length: number of segments, T.
        reach: segments on each side.
        device: of the mask; the default device when None.

    Returns:
        (T, T) bool, True where |i - j| <= reach.
    """
    index = torch.arange(length, device=device)
    return (index[:, None] - index[None, :]).abs() <= reach


def segment_mask(lengths: Tensor, length: int) -> Tensor:
    """Return which segments of a padded batch are real.

    Args:
        lengths: (B,), number of real segments in each video.
        length: T, number of segments in the padded batch.

    Returns:
        (B, T) bool, True on real segments.
    """
    return torch.arange(length, device=lengths.device) < lengths[:, None]


class Dropout(nn.Module):
    """Dropout that takes a fifth of the time of torch's on a CPU.

    On a CPU it draws 16 random bits per element, where torch draws 64 bits for one element at a time. The rate is
    rounded to 1 / 65536; kept values are scaled by the rounded rate, so that the mean stays exact. Other devices use
    torch's dropout.

    Args:
        rate: probability that an element is set to 0, in [0, 1).
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

    Args:
        dim: D, a multiple of `heads`.
        heads: H.
        dropout: rate on the attention weights, in training.

    Source:
        Vaswani et al., NeurIPS 2017.
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
        """Attend from the query to the memory.

        Args:
            query: (B, L, D); or (1, L, D), the same query for the whole batch, which is projected once.
            memory: (B, S, D), keys and values.
            mask: bool, broadcastable to (B, L, S), True = attend; None attends everywhere.

        Returns:
            (B, L, D).
        """
        attended = F.scaled_dot_product_attention(
            # `len` would fix the size of the batch in exported programs.
            self._split(self.query(query)).expand(memory.shape[0], -1, -1, -1),
            self._split(self.key(memory)),
            self._split(self.value(memory)),
            attn_mask=None if mask is None else mask.unsqueeze(-3),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output(attended.transpose(1, 2).flatten(2))

    def logits(self, query: Tensor, memory: Tensor) -> Tensor:
        """Compute attention logits, the mean over heads of Q K^T / sqrt(D / H), without softmax or mask.

        Args:
            query: (B, L, D) or (1, L, D).
            memory: (B, S, D).

        Returns:
            (B, L, S).
        """
        # The mean over heads of per-head products is one product over the whole width.
        scale = math.sqrt(query.shape[-1] / self.heads) * self.heads
        return self.query(query) @ self.key(memory).transpose(1, 2) / scale

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two-layer perceptron, (..., D) -> (..., D): linear, ReLU, dropout, linear."""

    def __init__(self, dim: int, inner_dim: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, inner_dim), nn.ReLU(), Dropout(dropout), nn.Linear(inner_dim, dim))


class AttentionLayer(nn.Module):
    """Attention layer of MM-Pyr and of the published LEAP: pre-norm on the query only.

    ``x = q + drop(MHA(LN(q), m, m)); out = x + drop(FF(LN(x)))``. Keys, values and the output are not normalised;
    the LEAP paper describes a different norm, see `leap.PaperBlock`.

    Args:
        dim: D.
        inner_dim: width between the two linear layers of FF.
        heads: attention heads.
        dropout: rate on both branches and inside FF.
        attention_dropout: rate on the attention weights.

    Source:
        github.com/jasongief/LEAP.
    """

    def __init__(self, dim: int, inner_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, heads, attention_dropout)
        self.feedforward = FeedForward(dim, inner_dim, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Update the query from the memory; arguments and result as in `MultiHeadAttention.forward`."""
        return self.transform(self.attend(query, memory, mask))

    def attend(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Apply the first half of the layer: add the attention branch to the query, (B, L, D)."""
        return query + self.dropout(self.attention(self.attention_norm(query), memory, mask))

    def transform(self, x: Tensor) -> Tensor:
        """Apply the second half of the layer: add the feed-forward branch, (B, L, D)."""
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))
