"""MMIL: multimodal multiple instance learning pooling (Tian et al., ECCV 2020).

Shapes: B batch, T segments, C classes, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction


class Pooled(NamedTuple):
    """Video probabilities pooled from those of the segments."""

    modalities: Tensor  # (B, 2, C), in the order of the input
    video: Tensor  # (B, C), over both


class MMILDecoder(nn.Module):
    """Segment classifier with attentive pooling over segments and modalities.

    On x (B, T, 2, D), axis 2 = audio, visual: ``P = sigmoid(prob x)``, ``A = softmax over T of frame_attention x``,
    ``M = softmax over axis 2 of modality_attention x``. The video probability of a modality is ``sum_t A P``, that of
    the whole video is the sum of ``A P M`` over segments and modalities.

    With `swap_modalities` axis 2 is visual, audio, and index 0 is read as audio: the published MM-Pyr program does so.

    Source:
        Tian et al., ECCV 2020; github.com/YapengTian/AVVP-ECCV20.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        classes = len(config.labels)
        self.swap = config.swap_modalities
        self.prob = nn.Linear(config.hidden_dim, classes)
        self.frame_attention = nn.Linear(config.hidden_dim, classes)
        self.modality_attention = nn.Linear(config.hidden_dim, classes)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> DecoderOutput:
        """Predict the events of both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions, without video logits, attention and label embeddings.
        """
        both = torch.stack([visual, audio] if self.swap else [audio, visual], dim=2)
        logits, frame_logits = self.prob(both), self.frame_attention(both)
        pooled = pool(logits, frame_logits, self.modality_attention(both), valid)
        first, second = (
            ModalityPrediction(
                logits[:, :, index], pooled.modalities[:, index], pooling_logits=frame_logits[:, :, index]
            )
            for index in (0, 1)
        )
        return DecoderOutput(audio=first, visual=second, video_probs=pooled.video)


def pool(logits: Tensor, frame_logits: Tensor, modality_logits: Tensor, valid: Tensor | None) -> Pooled:
    """Pool segment probabilities over the segments, and over segments and modalities.

    Args:
        logits: (B, T, 2, C), of the segment probabilities.
        frame_logits: (B, T, 2, C), of the attention over the segments.
        modality_logits: (B, T, 2, C), of the attention over the modalities.
        valid: (B, T) bool, True on real segments; None when there is no padding.

    Returns:
        Probabilities, at least float32.

    Source:
        Tian et al., ECCV 2020, Eq. 5 to 7; github.com/YapengTian/AVVP-ECCV20.
    """
    # The pooled probabilities are sums of up to 2T products: half precision would round them.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    weighted = logits.to(dtype).sigmoid() * segment_attention(frame_logits.to(dtype), valid)
    video = (weighted * modality_logits.to(dtype).softmax(dim=2)).sum(dim=(1, 2))
    return Pooled(weighted.sum(dim=1), video)


def segment_attention(logits: Tensor, valid: Tensor | None) -> Tensor:
    """Compute attention over the real segments.

    Args:
        logits: (B, T, ...).
        valid: (B, T) bool, True on real segments; None when there is no padding.

    Returns:
        The softmax over T, same shape, 0 at padded segments.
    """
    if valid is not None:
        logits = logits.masked_fill(~valid[(..., *[None] * (logits.dim() - 2))], float("-inf"))
    return logits.softmax(dim=1)


def mean_over_segments(values: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the mean over the real segments.

    Args:
        values: (B, T, C).
        valid: (B, T) bool, True on real segments; None when there is no padding.

    Returns:
        (B, C).
    """
    if valid is None:
        return values.mean(dim=1)
    return (values * valid.unsqueeze(-1)).sum(dim=1) / valid.sum(dim=1, keepdim=True)
