"""Attention building blocks shared by the encoders and the LEAP decoder.

Shapes: B batch, T segments, L query length, S key length, D width, H heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Keys, up to which `ShortAttention` was measured to be faster than torch's attention: with dropout 1.2 to 1.4 times in
# fp32 and 2.3 to 2.8 times in bf16; without dropout in bf16 only, four to thirteen times.
SHORT_MEMORY = 64


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


def draw_kept(shape: torch.Size, rate: float, dtype: torch.dtype) -> Tensor:
    """Draw the factors of dropout on a CPU: 0 with the probability `rate`, else 1 / (1 - rate).

    16 random bits decide on an element, where torch draws 64 bits for one element at a time. The rate is rounded to
    1 / 65536; the factors are of the rounded rate, so that the mean stays exact.

    Args:
        shape: of the factors.
        rate: in [0, 1).
        dtype: of the factors.

    Returns:
        The factors.
    """
    dropped = min(round(rate * 2**16), 2**16 - 1)
    if not dropped:
        return torch.ones(shape, dtype=dtype)
    words = torch.empty((shape.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: shape.numel()].view(shape)
    first = dropped - 2**15  # least number that is kept; comparisons and bool take four times as long as integers
    return bits.clamp_(first - 1, first).sub_(first - 1).to(dtype).mul_(2**16 / (2**16 - dropped))


class Dropout(nn.Module):
    """Dropout that takes a tenth of the time of torch's on a CPU, see `draw_kept`. Other devices use torch's.

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
        return x * draw_kept(x.shape, self.rate, x.dtype)


class ShortAttention(torch.autograd.Function):
    """Scaled dot-product attention with dropout to a few keys, for training on a CPU.

    PyTorch's softmax takes twenty times as long as exponential and sum where the rows have ten elements, and with
    dropout its attention is a chain of general operations that copy and convert. The softmax is at least float32.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes no keywords
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, rate: float
    ) -> Tensor:
        """Attend.

        Args:
            ctx: of autograd.
            query: (B, L, D), projected.
            key: (B, S, D), projected.
            value: (B, S, D), projected.
            mask: bool, broadcastable to (B, L, S), True = attend, at least to one key; None attends everywhere.
            heads: H.
            rate: of the dropout of the attention weights.

        Returns:
            (B, L, D).
        """
        q, k, v = (_head_rows(x, heads) for x in (query, key, value))
        ctx.scale = 1 / math.sqrt(q.shape[-1])
        scores = torch.bmm(q, k.transpose(1, 2))
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).mul_(ctx.scale)
        if mask is not None:
            bias = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, float("-inf"))
            scores.unflatten(0, (-1, heads)).add_(bias.unsqueeze(-3))
        probs = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
        probs.div_(probs.sum(-1, keepdim=True))
        kept = draw_kept(probs.shape, rate, probs.dtype) if rate else None
        ctx.heads = heads
        ctx.save_for_backward(q, k, v, probs, kept)
        return _merge_heads(torch.bmm((probs if kept is None else probs * kept).to(v.dtype), v), heads)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of query, key and value, from that of the result (B, L, D)."""
        q, k, v, probs, kept = ctx.saved_tensors
        rows = _head_rows(gradient, ctx.heads)
        weights = probs if kept is None else probs * kept
        of_value = torch.bmm(weights.to(rows.dtype).transpose(1, 2), rows)
        of_probs = torch.bmm(rows, v.transpose(1, 2)).to(probs.dtype)
        if kept is not None:
            of_probs.mul_(kept)
        of_scores = of_probs.sub_((of_probs * probs).sum(-1, keepdim=True)).mul_(probs).mul_(ctx.scale).to(q.dtype)
        of_query, of_key = torch.bmm(of_scores, k), torch.bmm(of_scores.transpose(1, 2), q)
        return *(_merge_heads(x, ctx.heads) for x in (of_query, of_key, of_value)), None, None, None


def _head_rows(x: Tensor, heads: int) -> Tensor:
    """Split the heads: (B, L, D) -> (B H, L, D / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _merge_heads(x: Tensor, heads: int) -> Tensor:
    """Join the heads: (B H, L, D / H) -> (B, L, D)."""
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


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

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, *, keys: Tensor | None = None
    ) -> Tensor:
        """Attend from the query to the memory.

        Args:
            query: (B, L, D); or (1, L, D), the same query for the whole batch, which is projected once.
            memory: (B, S, D), keys and values.
            mask: bool, broadcastable to (B, L, S), True = attend; None attends everywhere.
            keys: (B, S, D), the memory projected by `key`, where it is known already.

        Returns:
            (B, L, D).
        """
        projected = self.query(query), self.key(memory) if keys is None else keys, self.value(memory)
        is_slow = self.dropout or projected[2].element_size() < torch.float32.itemsize  # torch's attention
        if self.training and is_slow and memory.device.type == "cpu" and memory.shape[1] <= SHORT_MEMORY:
            # `len` would fix the size of the batch in exported programs.
            wide = projected[0].expand(memory.shape[0], -1, -1)
            return self.output(ShortAttention.apply(wide, *projected[1:], mask, self.heads, self.dropout))
        heads = [self._split(x) for x in projected]
        attended = F.scaled_dot_product_attention(
            heads[0].expand(memory.shape[0], -1, -1, -1),
            *heads[1:],
            attn_mask=None if mask is None else mask.unsqueeze(-3),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output(attended.transpose(1, 2).flatten(2))

    def logits(self, query: Tensor, memory: Tensor, *, keys: Tensor | None = None) -> Tensor:
        """Compute attention logits, the mean over heads of Q K^T / sqrt(D / H), without softmax or mask.

        Args:
            query: (B, L, D) or (1, L, D).
            memory: (B, S, D).
            keys: as in `forward`.

        Returns:
            (B, L, S).
        """
        # The mean over heads of per-head products is one product over the whole width.
        scale = math.sqrt(query.shape[-1] / self.heads) * self.heads
        return self.query(query) @ (self.key(memory) if keys is None else keys).transpose(1, 2) / scale

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

    def attend(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, *, keys: Tensor | None = None
    ) -> Tensor:
        """Apply the first half of the layer: add the attention branch to the query, (B, L, D)."""
        return query + self.dropout(self.attention(self.attention_norm(query), memory, mask, keys=keys))

    def transform(self, x: Tensor) -> Tensor:
        """Apply the second half of the layer: add the feed-forward branch, (B, L, D)."""
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))
