"""LEAP: events decoded by projecting segment features onto label embeddings (ECCV 2024).

The label embeddings are queries, the segments of one modality keys and values. The attention logits between label
and segment are the segment predictions; the refined label embedding of a class gives its video prediction.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from .layers import AttentionLayer


class LeapOutput(NamedTuple):
    """Predictions of one modality."""

    segment_logits: Tensor  # (B, T, C)
    video_logits: Tensor  # (B, C)
    attention: Tensor  # (B, C, T), softmax of the segment logits over the video's seconds
    label_hidden: Tensor  # (B, C, D), the refined label embeddings


class PublishedBlock(AttentionLayer):
    """A LEAP block as the published program has it: the layer of the encoder, pre-norm on the query only.

    The logits are read in a second look, by the query that the attention has already updated.
    """

    def project(self, labels: Tensor, segments: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Refined labels (B, C, D) and the label-to-segment logits (B, C, T)."""
        updated = self.attend(labels, segments, mask)
        return self.transform(updated), self.attention.logits(updated, segments)


class PaperBlock(AttentionLayer):
    """A LEAP block by the letter of the paper, Eq. 2-5: ``F + LN(softmax(A) V)``, then ``F + LN(FF(F))``.

    The logits are A = Q K^T / sqrt(D / H) of the block's own projections, before the softmax.
    """

    def attend(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        return query + self.dropout(self.attention_norm(self.attention(query, memory, mask)))

    def transform(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.feedforward_norm(self.feedforward(x)))

    def project(self, labels: Tensor, segments: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Refined labels (B, C, D) and the label-to-segment logits (B, C, T)."""
        return self(labels, segments, mask), self.attention.logits(labels, segments)


BLOCKS = {"published": PublishedBlock, "paper": PaperBlock}


class LeapDecoder(nn.Module):
    """N blocks and a video classifier for one modality."""

    def __init__(
        self,
        *,
        dim: int,
        inner_dim: int,
        heads: int,
        blocks: int,
        variant: str,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        block = BLOCKS[variant]
        self.blocks = nn.ModuleList(block(dim, inner_dim, heads, dropout, attention_dropout) for _ in range(blocks))
        self.video_head = nn.Linear(dim, 1)

    def forward(self, labels: Tensor, segments: Tensor, valid: Tensor | None = None) -> LeapOutput:
        """labels (C, D), segments (B, T, D), valid (B, T) True on real segments."""
        labels = labels.expand(len(segments), -1, -1)
        mask = None if valid is None else valid[:, None, :]
        *earlier, last = cast("list[PublishedBlock | PaperBlock]", list(self.blocks))
        for block in earlier:
            labels = block(labels, segments, mask)
        labels, logits = last.project(labels, segments, mask)
        seen = logits if mask is None else logits.masked_fill(~mask, float("-inf"))
        return LeapOutput(
            logits.transpose(1, 2), self.video_head(labels).squeeze(-1), torch.softmax(seen, dim=-1), labels
        )
