"""Encoder of PSP (Zhou et al., CVPR 2021) and of CPSP, its later form: positive sample propagation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import Dropout
from .config import LocalizerConfig
from .encoded import Encoded
from .lstm import BidirectionalLSTM
from .spatial import AudioGuidedAttention

_NORM_EPSILON = 1e-6
_SUM_EPSILON = 1e-8  # avoids 0 / 0 in rows without a positive pair


class PSPEncoder(nn.Module):
    """Audio-guided attention, an LSTM for each modality, propagation between positive pairs.

    With full supervision, and in CPSP, both modalities are projected before the attention and the LSTMs; in weak PSP
    the attended map alone.

    Args:
        config: sizes, and the threshold of pairs.

    Source:
        github.com/jasongief/PSP_CVPR_2021, github.com/jasongief/CPSP.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        half = config.hidden_dim // 2
        self.is_full = config.system == "cpsp" or config.supervision == "full"
        audio_dim = half if self.is_full else config.audio_dim
        self.audio_projection = _project(config.audio_dim, config.hidden_dim) if self.is_full else nn.Identity()
        self.attention = AudioGuidedAttention(config, audio_dim)
        self.visual_projection = (
            _project(config.visual_dim, config.hidden_dim) if self.is_full else nn.Linear(config.visual_dim, half)
        )
        self.audio_lstm = BidirectionalLSTM(audio_dim, half)
        self.visual_lstm = BidirectionalLSTM(half, half)
        self.propagation = PositivePropagation(config, is_full=self.is_full)

    def forward(self, audio: Tensor, maps: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode a batch.

        Args:
            audio: (B, T, audio_dim).
            maps: (B, T, P, visual_dim).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Encoded segments, without gate and classes; the similarity with full supervision.
        """
        audio = self.audio_projection(audio)
        attended, weights = self.attention(audio, maps)
        audio = self.audio_lstm(audio, valid)
        visual = self.visual_lstm(self.visual_projection(attended), valid)
        audio, visual = self.propagation(audio, visual, valid)
        similarity = F.cosine_similarity(visual, audio, dim=-1) if self.is_full else None
        return Encoded(audio, visual, (audio + visual) / 2, weights, similarity)


def _project(dim: int, width: int) -> nn.Sequential:
    """Two linear layers, dim -> width -> width / 2, without bias and with nothing between them."""
    return nn.Sequential(nn.Linear(dim, width, bias=False), nn.Linear(width, width // 2, bias=False))


class PositivePropagation(nn.Module):
    """Add to each segment those of the other modality that are most similar to it.

    ``beta = v2 a1^T / sqrt(D)``, as shares of each row; shares above the threshold are kept. The branches cross: the
    segments that are added to v are a2, those that are added to a are v1.

    Args:
        config: width, dropout and threshold.
        is_full: whether the kept shares are normalised again and the sums have a linear layer each.
    """

    def __init__(self, config: LocalizerConfig, *, is_full: bool) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.threshold, self.is_full = config.threshold, is_full
        names = ["visual_1", "visual_2", "audio_1", "audio_2", *(["visual_output", "audio_output"] if is_full else [])]
        self.layers = nn.ModuleDict({name: nn.Linear(dim, dim, bias=False) for name in names})
        for layer in self.layers.values():
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight)
        self.norm = nn.LayerNorm(dim, eps=_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Propagate between audio and visual, (B, T, D) each; padded segments are no positives."""
        visual_1, visual_2 = self._branch("visual_1", visual), self._branch("visual_2", visual)
        audio_1, audio_2 = self._branch("audio_1", audio), self._branch("audio_2", audio)
        pairs = visual_2 @ audio_1.transpose(1, 2) / math.sqrt(audio.shape[-1])
        if valid is not None:
            pairs = pairs * (valid[:, :, None] & valid[:, None, :])
        visual = visual + self._select(pairs) @ audio_2
        audio = audio + self._select(pairs.transpose(1, 2)) @ visual_1
        if self.is_full:
            audio, visual = self._branch("audio_output", audio), self._branch("visual_output", visual)
        return self.norm(audio), self.norm(visual)

    def _branch(self, name: str, x: Tensor) -> Tensor:
        return self.dropout(F.relu(self.layers[name](x)))

    def _select(self, pairs: Tensor) -> Tensor:
        """Return the shares of each row (B, T, T) that are above the threshold, 0 for the others."""
        shares = _share(pairs)
        kept = torch.where(shares > self.threshold, shares, 0)
        return _share(kept) if self.is_full else kept


def _share(pairs: Tensor) -> Tensor:
    """Divide rows by their sums."""
    return pairs / (pairs.sum(dim=-1, keepdim=True) + _SUM_EPSILON)
