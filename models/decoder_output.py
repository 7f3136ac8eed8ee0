"""What every decoder hands back: one prediction for each modality."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ModalityPrediction(NamedTuple):
    """What a decoder says of one modality. Probabilities of padded segments are not yet zeroed."""

    segment_logits: Tensor  # (B, T, C)
    video_probs: Tensor  # (B, C)
    video_logits: Tensor | None = None  # (B, C), LEAP
    attention: Tensor | None = None  # (B, C, T), LEAP: softmax of the segment logits over the video's seconds
    label_hidden: Tensor | None = None  # (B, C, D), LEAP: the refined label embeddings


class Decoded(NamedTuple):
    """What a decoder says of both, and of the video as a whole."""

    heard: ModalityPrediction
    seen: ModalityPrediction
    video_probs: Tensor  # (B, C)
