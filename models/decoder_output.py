"""Result types that every decoder returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ModalityPrediction(NamedTuple):
    """Predictions for one modality. Probabilities of padded segments are not yet set to 0."""

    segment_logits: Tensor  # (B, T, C)
    video_probs: Tensor  # (B, C)
    video_logits: Tensor | None = None  # (B, C), LEAP
    attention: Tensor | None = None  # (B, C, T), LEAP: softmax of the segment logits over the segments
    label_hidden: Tensor | None = None  # (B, C, D), LEAP: the refined label embeddings
    pooling_logits: Tensor | None = None  # (B, T, C), decoders that pool as MMIL does: its attention over the segments
    uncertainty: Tensor | None = None  # (B, C), evidence: of the video probabilities
    token_logits: Tensor | None = None  # (B, G, C), groups: classes of the learned tokens, in training
    segment_probs: Tensor | None = None  # (B, T, C), where they are not the sigmoid of the logits


class DecoderOutput(NamedTuple):
    """Predictions for both modalities and for the whole video."""

    audio: ModalityPrediction
    visual: ModalityPrediction
    video_probs: Tensor  # (B, C)
    video_uncertainty: Tensor | None = None  # (B,), evidence: of the video probabilities
