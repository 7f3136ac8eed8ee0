"""Attention over the positions of feature maps, guided by the sound of the same second.

Shapes: B batch, T segments, P positions of a map, M channels of a map, A width of the audio.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import Dropout
from .config import LocalizerConfig


class AudioGuidedAttention(nn.Module):
    """Attention of AVE over the positions of a map; also of DMRN, PSP and CPSP.

    ``score_p = h . tanh(V relu(W x_p) + (G relu(U a))_p)``. The sound adds one number per position, so that the number
    of positions is fixed; the paper adds one per hidden unit.

    Args:
        config: sizes.
        audio_dim: A.

    Source:
        github.com/YapengTian/AVE-ECCV18, github.com/jasongief/PSP_CVPR_2021.
    """

    def __init__(self, config: LocalizerConfig, audio_dim: int) -> None:
        super().__init__()
        self.map_projection = nn.Linear(config.visual_dim, config.attention_dim)
        self.audio_projection = nn.Linear(audio_dim, config.attention_dim)
        self.map_scores = nn.Linear(config.attention_dim, config.positions, bias=False)
        self.audio_scores = nn.Linear(config.attention_dim, config.positions, bias=False)
        self.score = nn.Linear(config.positions, 1, bias=False)
        if config.system != "dmrn":  # which begins with PyTorch's defaults
            for layer in self.children():
                assert isinstance(layer, nn.Linear)
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, audio: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Attend to the positions of each second.

        Args:
            audio: (B, T, A).
            maps: (B, T, P, M).

        Returns:
            The attended maps (B, T, M), and the weights (B, T, P), which sum to 1.
        """
        of_map = self.map_scores(F.relu(self.map_projection(maps)))
        of_audio = self.audio_scores(F.relu(self.audio_projection(audio)))
        weights = self.score(torch.tanh(of_map + of_audio.unsqueeze(-1))).squeeze(-1).softmax(dim=-1)
        return _attend(weights, maps), weights


class ChannelSpatialAttention(nn.Module):
    """Attention of CMBS: within the map, over channels by the sound, over positions by the sound.

    1. ``y = LN(x + drop(softmax(q k^T) v))`` within a second, without scaling.
    2. The map's own view: positions of y weighted by its mean.
    3. ``z = x * (1 + s)``, channels s in [0, 1] from the sound and y.
    4. The sound's view: positions of z weighted by the sound.
    5. The result is ``view * (1 + beta sigmoid(own view))``.

    Args:
        config: sizes.

    Source:
        github.com/marmot-xy/CMBS, whose program differs from its description.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        channels, audio, width = config.visual_dim, config.audio_dim, config.hidden_dim
        self.beta = config.beta
        self.query = nn.Linear(channels, width // 2)
        self.key = nn.Linear(channels, width // 2)
        self.value = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.dropout = Dropout(config.map_attention_dropout)
        self.own_map = nn.Linear(channels, width)
        self.own_mean = nn.Linear(channels, width)
        self.own_score = nn.Linear(width, 1)
        self.channel_map = nn.Linear(channels, channels)
        self.channel_audio = nn.Linear(audio, channels)
        self.channel_bottleneck = nn.Linear(channels, width)
        self.channel_score = nn.Linear(width, channels)
        self.position_map = nn.Linear(channels, width)
        self.position_audio = nn.Linear(audio, width)
        self.position_score = nn.Linear(width, 1)

    def forward(self, audio: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Attend to the channels and positions of each second.

        Args:
            audio: (B, T, A).
            maps: (B, T, P, M).

        Returns:
            The attended maps (B, T, M), and the weights of the sound's view (B, T, P), which sum to 1.
        """
        within = F.scaled_dot_product_attention(self.query(maps), self.key(maps), self.value(maps), scale=1.0)
        refined = self.norm(maps + self.dropout(within))
        own_mean = F.relu(self.own_mean(refined.mean(dim=2)))
        own_weights = _position_weights(self.own_score, F.relu(self.own_map(refined)), own_mean)
        own = _attend(own_weights, refined)
        per_channel = F.relu(self.channel_audio(audio)) * F.relu(self.channel_map(refined)).mean(dim=2)
        channels = self.channel_score(F.relu(self.channel_bottleneck(per_channel))).sigmoid()
        focused = maps * (1 + channels.unsqueeze(2))
        from_audio = F.relu(self.position_audio(audio))
        weights = _position_weights(self.position_score, F.relu(self.position_map(focused)), from_audio)
        view = _attend(weights, focused)
        return view + self.beta * own.sigmoid() * view, weights


def _position_weights(score: nn.Module, maps: Tensor, guide: Tensor) -> Tensor:
    """Weight the positions (B, T, P) of maps (B, T, P, W) by a guide (B, T, W)."""
    return torch.tanh(score(maps * guide.unsqueeze(2)).squeeze(-1)).softmax(dim=-1)


def _attend(weights: Tensor, maps: Tensor) -> Tensor:
    """Sum maps (B, T, P, M) over positions, weighted by (B, T, P)."""
    return (weights.unsqueeze(-2) @ maps).squeeze(-2)
