"""MMIL: multimodal multiple instance learning pooling (Tian et al., ECCV 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .decoder_output import Decoded, ModalityPrediction


class MMILDecoder(nn.Module):
    """Classifies every segment and pools the probabilities with two learned attentions.

    On x (B, T, 2, D), axis 2 = audio, visual: ``P = sigmoid(prob x)``, ``A = softmax over T of frame_attention x``,
    ``M = softmax over axis 2 of modality_attention x``. A modality's video probability is ``sum_t A P``, the video's
    is the sum of ``A P M`` over seconds and modalities.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        classes = len(config.labels)
        self.swap = config.swap_modalities
        self.prob = nn.Linear(config.hidden_dim, classes)
        self.frame_attention = nn.Linear(config.hidden_dim, classes)
        self.modality_attention = nn.Linear(config.hidden_dim, classes)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> Decoded:
        """audio, visual (B, T, D), valid (B, T) True on real segments."""
        both = torch.stack([visual, audio] if self.swap else [audio, visual], dim=2)
        logits, over_time = self.prob(both), self.frame_attention(both)
        if valid is not None:
            over_time = over_time.masked_fill(~valid[:, :, None, None], float("-inf"))
        # The pooled probabilities are sums of up to 2T products: half precision would round them.
        exact = torch.promote_types(logits.dtype, torch.float32)
        weighted = logits.to(exact).sigmoid() * over_time.to(exact).softmax(dim=1)
        pooled = weighted.sum(dim=1)
        video = (weighted * self.modality_attention(both).to(exact).softmax(dim=2)).sum(dim=(1, 2))
        heard, seen = (ModalityPrediction(logits[:, :, index], pooled[:, index]) for index in (0, 1))
        return Decoded(heard, seen, video)
