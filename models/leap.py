"""LEAP: decode events by projecting segment features onto label embeddings (Zhou et al., ECCV 2024).

Label embeddings are the queries of attention, the segments of one modality are keys and values. The attention logits
between a label and a segment are the segment prediction; the refined label embedding gives the video prediction.
"""

from __future__ import annotations

from collections.abc import Container
from typing import cast

import torch
from torch import Tensor, nn

from .config import LeapConfig, ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction
from .layers import AttentionLayer


class PublishedBlock(AttentionLayer):
    """LEAP block of the published program: the layer of the encoder, pre-norm on the query only.

    The logits come from a second attention call, with the query that the first one has updated (not normalised).

    Source:
        github.com/jasongief/LEAP.
    """

    def project(self, labels: Tensor, segments: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend from the labels to the segments, and return the logits as well.

        Args:
            labels: (B, C, D) or (1, C, D), the queries.
            segments: (B, T, D), keys and values.
            mask: bool, broadcastable to (B, C, T), True = attend; None attends everywhere.

        Returns:
            Refined labels (B, C, D) and label-to-segment logits (B, C, T).
        """
        keys = self.attention.key(segments)
        updated = self.attend(labels, segments, mask, keys=keys)
        return self.transform(updated), self.attention.logits(updated, segments, keys=keys)


class PaperBlock(AttentionLayer):
    """LEAP block of the paper: ``F + LN(softmax(A) V)``, then ``F + LN(FF(F))``.

    The logits are A = Q K^T / sqrt(D / H) of the block's own projections, before the softmax.

    Source:
        LEAP paper, Eq. 2-5.
    """

    def attend(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, *, keys: Tensor | None = None
    ) -> Tensor:
        return query + self.dropout(self.attention_norm(self.attention(query, memory, mask, keys=keys)))

    def transform(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.feedforward_norm(self.feedforward(x)))

    def project(self, labels: Tensor, segments: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attend from the labels to the segments; arguments and result as in `PublishedBlock.project`."""
        keys = self.attention.key(segments)
        refined = self.transform(self.attend(labels, segments, mask, keys=keys))
        return refined, self.attention.logits(labels, segments, keys=keys)


BLOCKS: dict[str, type[PublishedBlock | PaperBlock]] = {"published": PublishedBlock, "paper": PaperBlock}


class ModalityDecoder(nn.Module):
    """LEAP decoder of one modality: a stack of blocks and a video classifier."""

    def __init__(self, config: LeapConfig) -> None:
        super().__init__()
        block = BLOCKS[config.variant]
        sizes = (config.width, config.feedforward, config.heads)
        dropouts = (config.dropout, config.attention_dropout)
        self.prediction = config.prediction
        self.blocks = nn.ModuleList(block(*sizes, *dropouts) for _ in range(config.blocks))
        self.video_head = nn.Linear(config.width, 1)

    def forward(self, labels: Tensor, segments: Tensor, valid: Tensor | None = None) -> ModalityPrediction:
        """Predict the events of one modality.

        Video predictions come from the label embeddings of the last block, whichever block predicts the segments.

        Args:
            labels: (C, D), label queries.
            segments: (B, T, D), encoded segments of the modality.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions with every field set.
        """
        mask = None if valid is None else valid[:, None, :]
        indices = range(len(self.blocks))
        logit_blocks = {"first": indices[:1], "last": indices[-1:], "average": indices}[self.prediction]
        labels, logits = self._run_blocks(labels, segments, mask, logit_blocks)
        logits = logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)
        masked = logits if mask is None else logits.masked_fill(~mask, float("-inf"))
        video_logits = self.video_head(labels).squeeze(-1)
        return ModalityPrediction(
            segment_logits=logits.transpose(1, 2),
            video_probs=video_logits.sigmoid(),
            video_logits=video_logits,
            attention=torch.softmax(masked, dim=-1),
            label_hidden=labels,
        )

    def attention_logits(self, labels: Tensor, segments: Tensor, valid: Tensor | None = None) -> Tensor:
        """Compute the label-to-segment logits of every block; arguments as in `forward`.

        Returns:
            (B, blocks, C, T), -inf at padded segments.
        """
        mask = None if valid is None else valid[:, None, :]
        _, logits = self._run_blocks(labels, segments, mask, range(len(self.blocks)))
        logits = torch.stack(logits, dim=1)
        return logits if mask is None else logits.masked_fill(~mask[:, None], float("-inf"))

    def _run_blocks(
        self, labels: Tensor, segments: Tensor, mask: Tensor | None, logit_blocks: Container[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the refined labels (B, C, D) and the logits (B, C, T) of the blocks in `logit_blocks`.

        Logits are computed for these blocks only, because fused attention does not return them.
        """
        labels = labels.unsqueeze(0)  # the first block has the same queries for every video
        logits: list[Tensor] = []
        for index, block in enumerate(cast("list[PublishedBlock | PaperBlock]", list(self.blocks))):
            if index in logit_blocks:
                labels, block_logits = block.project(labels, segments, mask)
                logits.append(block_logits)
            else:
                labels = block(labels, segments, mask)
        return labels, logits


class LabelQueries(nn.Module):
    """Queries of LEAP: one vector per label, projected from label embeddings or learned from scratch.

    Args:
        queries: Q, number of labels.
        width: D.
        label_embeddings: (Q, W) float, kept as a buffer and saved in checkpoints; None learns the queries.

    Source:
        LEAP paper, Eq. 2; learned queries: Table 8.
    """

    def __init__(self, queries: int, width: int, label_embeddings: Tensor | None) -> None:
        super().__init__()
        if label_embeddings is not None:
            self.register_buffer("label_embeddings", label_embeddings.detach().clone().float())
            self.label_projection = nn.Linear(label_embeddings.shape[1], width)
        else:
            self.label_queries = nn.Parameter(torch.randn(queries, width))

    def queries(self) -> Tensor:
        """Compute the queries, (Q, D)."""
        embedded = hasattr(self, "label_embeddings")
        return self.label_projection(self.label_embeddings) if embedded else self.label_queries


class LeapDecoder(LabelQueries):
    """LEAP decoder of both modalities, which share the label queries.

    Args:
        config: `needs_label_embeddings` chooses between projected label embeddings and learned queries.
        label_embeddings: (C, W) float, kept as a buffer and saved in checkpoints; ignored with learned queries.

    Raises:
        ValueError: the label embeddings are missing or have the wrong shape.

    Source:
        LEAP paper, Eq. 2-7; github.com/jasongief/LEAP. Learned queries: paper, Table 8.
    """

    def __init__(self, config: ParserConfig, label_embeddings: Tensor | None) -> None:
        expected = (len(config.labels), config.label_embedding_dim)
        given = check_label_embeddings(label_embeddings, expected) if config.needs_label_embeddings else None
        super().__init__(len(config.labels), config.hidden_dim, given)
        self.variant = config.leap_variant
        self.audio = ModalityDecoder(config.leap)
        self.visual = ModalityDecoder(config.leap)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> DecoderOutput:
        """Predict the events of both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions; the video probabilities are the union of those of the modalities.
        """
        labels = self.queries()
        audio_prediction = self.audio(labels, audio, valid)
        visual_prediction = self.visual(labels, visual, valid)
        union = hard_union if self.variant == "published" else soft_union
        video_probs = union(audio_prediction.video_probs, visual_prediction.video_probs)
        return DecoderOutput(audio_prediction, visual_prediction, video_probs)

    def attention_logits(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the label-to-segment logits of every block; arguments as in `forward`.

        The sigmoid of the predicting block's logits, or of their mean over the blocks, is the segment probability.

        Returns:
            Audio and visual logits, (B, blocks, C, T) each, -inf at padded segments.

        Source:
            LEAP paper, Figs. 5 and 6, which show them and their softmax over T.
        """
        labels = self.queries()
        return self.audio.attention_logits(labels, audio, valid), self.visual.attention_logits(labels, visual, valid)


def check_label_embeddings(label_embeddings: Tensor | None, expected: tuple[int, int]) -> Tensor:
    """Return label embeddings. Raises ValueError unless they have the expected shape (labels, width)."""
    shape = None if label_embeddings is None else tuple(label_embeddings.shape)
    if label_embeddings is None or shape != expected:
        raise ValueError(f"label embeddings are {shape}, expected {expected}")
    return label_embeddings


def hard_union(audio: Tensor, visual: Tensor) -> Tensor:
    """Return 1 where either probability is at least 0.5, else 0. It has no gradient.

    Args:
        audio: probabilities.
        visual: probabilities of the same shape.

    Returns:
        0 or 1, same shape and dtype.

    Source:
        github.com/jasongief/LEAP.
    """
    return ((audio >= 0.5) | (visual >= 0.5)).to(audio.dtype)


def soft_union(audio: Tensor, visual: Tensor) -> Tensor:
    """Return ``1 - (1 - a) (1 - v)``, the probability of either event if they are independent.

    Args:
        audio: probabilities.
        visual: probabilities of the same shape.

    Returns:
        Probabilities of the same shape.
    """
    return 1 - (1 - audio) * (1 - visual)
