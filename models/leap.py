"""LEAP: events decoded by projecting segment features onto label embeddings (ECCV 2024).

The label embeddings are queries, the segments of one modality keys and values. The attention logits between label
and segment are the segment predictions; the refined label embedding of a class gives its video prediction.
"""

from __future__ import annotations

from collections.abc import Container
from typing import cast

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .decoder_output import Decoded, ModalityPrediction
from .layers import AttentionLayer


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


class ModalityDecoder(nn.Module):
    """N blocks and a video classifier for one modality."""

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        block = BLOCKS[config.leap_variant]
        sizes = (config.hidden_dim, config.feedforward_dim, config.leap_heads)
        dropouts = (config.dropout, config.attention_dropout)
        self.prediction = config.leap_prediction
        self.blocks = nn.ModuleList(block(*sizes, *dropouts) for _ in range(config.leap_blocks))
        self.video_head = nn.Linear(config.hidden_dim, 1)

    def forward(self, labels: Tensor, segments: Tensor, valid: Tensor | None = None) -> ModalityPrediction:
        """labels (C, D), segments (B, T, D), valid (B, T) True on real segments.

        The video predictions come from the last block's label embeddings, whichever block predicts the segments.
        """
        mask = None if valid is None else valid[:, None, :]
        every = range(len(self.blocks))
        predicting = {"first": every[:1], "last": every[-1:], "average": every}[self.prediction]
        labels, logits = self._pass(labels, segments, mask, predicting)
        logits = logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)
        seen = logits if mask is None else logits.masked_fill(~mask, float("-inf"))
        video_logits = self.video_head(labels).squeeze(-1)
        return ModalityPrediction(
            segment_logits=logits.transpose(1, 2),
            video_probs=video_logits.sigmoid(),
            video_logits=video_logits,
            attention=torch.softmax(seen, dim=-1),
            label_hidden=labels,
        )

    def attention_logits(self, labels: Tensor, segments: Tensor, valid: Tensor | None = None) -> Tensor:
        """What `forward` is given, looked at in every block: (B, N, C, T), -inf at padded segments."""
        mask = None if valid is None else valid[:, None, :]
        _, logits = self._pass(labels, segments, mask, range(len(self.blocks)))
        logits = torch.stack(logits, dim=1)
        return logits if mask is None else logits.masked_fill(~mask[:, None], float("-inf"))

    def _pass(
        self, labels: Tensor, segments: Tensor, mask: Tensor | None, looked_at: Container[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Labels refined by every block (B, C, D), and the logits (B, C, T) of the blocks that are looked at.

        Only those pay for a look: the logits are no by-product of the fused attention.
        """
        labels = labels.unsqueeze(0)  # the first block asks the same of every video
        logits: list[Tensor] = []
        for index, block in enumerate(cast("list[PublishedBlock | PaperBlock]", list(self.blocks))):
            if index in looked_at:
                labels, look = block.project(labels, segments, mask)
                logits.append(look)
            else:
                labels = block(labels, segments, mask)
        return labels, logits


class LeapDecoder(nn.Module):
    """Both modalities projected onto the same label queries.

    The queries are given label embeddings (C, W), a buffer that travels with the checkpoint, through a learned
    projection; or, where none are given, learned as they are.
    """

    def __init__(self, config: ParserConfig, label_embeddings: Tensor | None) -> None:
        super().__init__()
        self.variant = config.leap_variant
        if config.needs_label_embeddings:
            expected = (len(config.labels), config.label_embedding_dim)
            found = None if label_embeddings is None else tuple(label_embeddings.shape)
            if label_embeddings is None or found != expected:
                raise ValueError(f"label embeddings are {found}, expected {expected}")
            self.register_buffer("label_embeddings", label_embeddings.detach().clone().float())
            self.label_projection = nn.Linear(config.label_embedding_dim, config.hidden_dim)
        else:
            self.label_queries = nn.Parameter(torch.randn(len(config.labels), config.hidden_dim))
        self.audio = ModalityDecoder(config)
        self.visual = ModalityDecoder(config)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> Decoded:
        """audio, visual (B, T, D), valid (B, T) True on real segments."""
        labels = self._queries()
        heard = self.audio(labels, audio, valid)
        seen = self.visual(labels, visual, valid)
        union = hard_union if self.variant == "published" else soft_union
        return Decoded(heard, seen, union(heard.video_probs, seen.video_probs))

    def attention_logits(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Label-to-segment logits of every block, audio and visual: two (B, N, C, T), -inf at padded segments.

        The paper shows them, and their softmax over T, in Figs. 5 and 6. The sigmoid of the block that predicts, or of
        the mean over the blocks, is the segment probability.
        """
        labels = self._queries()
        return self.audio.attention_logits(labels, audio, valid), self.visual.attention_logits(labels, visual, valid)

    def _queries(self) -> Tensor:
        given = hasattr(self, "label_embeddings")
        return self.label_projection(self.label_embeddings) if given else self.label_queries


def hard_union(audio: Tensor, visual: Tensor) -> Tensor:
    """1 where either probability reaches 0.5, else 0; no gradient passes (published program)."""
    return ((audio >= 0.5) | (visual >= 0.5)).to(audio.dtype)


def soft_union(audio: Tensor, visual: Tensor) -> Tensor:
    """``1 - (1 - a) (1 - v)``: the probability of either, were they independent."""
    return 1 - (1 - audio) * (1 - visual)
