"""MMIL: multimodal multiple instance learning pooling (Tian et al., ECCV 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction


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
        if valid is not None:
            frame_logits = frame_logits.masked_fill(~valid[:, :, None, None], float("-inf"))
        # The pooled probabilities are sums of up to 2T products: half precision would round them.
        dtype = torch.promote_types(logits.dtype, torch.float32)
        weighted = logits.to(dtype).sigmoid() * frame_logits.to(dtype).softmax(dim=1)
        pooled = weighted.sum(dim=1)
        video_probs = (weighted * self.modality_attention(both).to(dtype).softmax(dim=2)).sum(dim=(1, 2))
        first, second = (ModalityPrediction(logits[:, :, index], pooled[:, index]) for index in (0, 1))
        return DecoderOutput(audio=first, visual=second, video_probs=video_probs)
