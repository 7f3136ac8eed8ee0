"""Encoders of AVE (Tian et al., ECCV 2018): the audio-guided attention network and the dual residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import LocalizerConfig
from .encoded import Encoded
from .lstm import BidirectionalLSTM
from .spatial import AudioGuidedAttention


class AVEEncoder(nn.Module):
    """Audio-guided attention over the map, then an LSTM for each modality; both are concatenated.

    Args:
        config: sizes.

    Source:
        github.com/YapengTian/AVE-ECCV18 (att_Net).
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.attention = AudioGuidedAttention(config, config.audio_dim)
        self.audio_lstm = BidirectionalLSTM(config.audio_dim, config.hidden_dim // 2)
        self.visual_lstm = BidirectionalLSTM(config.visual_dim, config.hidden_dim // 2)

    def forward(self, audio: Tensor, maps: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode a batch.

        Args:
            audio: (B, T, audio_dim).
            maps: (B, T, P, visual_dim).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Encoded segments, without gate and classes.
        """
        attended, weights = self.attention(audio, maps)
        return self.fuse(self.audio_lstm(audio, valid), self.visual_lstm(attended, valid), weights)

    def fuse(self, audio: Tensor, visual: Tensor, weights: Tensor) -> Encoded:
        """Fuse both modalities, (B, T, D) each."""
        return Encoded(audio, visual, F.relu(torch.cat([audio, visual], dim=-1)), weights)


class DMRNEncoder(AVEEncoder):
    """Dual multimodal residual network: both LSTM outputs are updated by their common residual, and averaged.

    ``m = (U_v(v) + U_a(a)) / 2; fused = (tanh(a + m) + tanh(v + m)) / 2``.

    Args:
        config: sizes.

    Source:
        github.com/YapengTian/AVE-ECCV18 (TBMRF_Net).
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__(config)
        dim = config.hidden_dim
        self.audio_residual = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, dim))
        self.visual_residual = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, dim))

    def fuse(self, audio: Tensor, visual: Tensor, weights: Tensor) -> Encoded:
        """Fuse both modalities, (B, T, D) each."""
        residual = (self.visual_residual(visual) + self.audio_residual(audio)) / 2
        audio, visual = torch.tanh(audio + residual), torch.tanh(visual + residual)
        return Encoded(audio, visual, (audio + visual) / 2, weights)
