"""Encoder of CMBS (Xia and Zhao, CVPR 2022): cross-modal background suppression."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import Dropout, FeedForward, MultiHeadAttention
from .config import LocalizerConfig
from .encoded import Encoded
from .lstm import BidirectionalLSTM
from .spatial import ChannelSpatialAttention


class CMBSEncoder(nn.Module):
    """Attention over the map, encoders and decoders across the modalities, gates, interaction.

    Each modality says where there is an event (its gate), and the gates raise the segments of the other modality, or
    suppress the background in them. With full supervision LSTMs precede the encoders.

    Args:
        config: sizes, and the weight of the gates.

    Source:
        github.com/marmot-xy/CMBS (supv_main_model, weak_main_model).
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.alpha = config.alpha
        self.is_full = config.supervision == "full"
        self.map_projection = nn.Linear(config.visual_dim, config.visual_dim)
        self.map_dropout = Dropout(config.map_dropout)
        self.attention = ChannelSpatialAttention(config)
        audio_dim, visual_dim = config.audio_dim, config.visual_dim
        if self.is_full:
            self.audio_lstm = BidirectionalLSTM(audio_dim, dim // 2)
            self.visual_lstm = BidirectionalLSTM(visual_dim, dim)
            audio_dim, visual_dim = dim, 2 * dim
        self.audio_encoder = SequenceEncoder(config, audio_dim)
        self.visual_encoder = SequenceEncoder(config, visual_dim)
        self.audio_decoder = SequenceDecoder(config, audio_dim)
        self.visual_decoder = SequenceDecoder(config, visual_dim)
        self.audio_gate = nn.Linear(dim, 1)
        self.visual_gate = nn.Linear(dim, 1)
        self.audio_classes = nn.Linear(dim, config.queries)
        self.visual_classes = nn.Linear(dim, config.queries)
        self.audio_interaction = Interaction(config)
        self.visual_interaction = Interaction(config)

    def forward(self, audio: Tensor, maps: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode a batch.

        Args:
            audio: (B, T, audio_dim).
            maps: (B, T, P, visual_dim).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Encoded segments with gate and classes of each modality, without similarity.
        """
        visual, weights = self.attention(audio, self.map_dropout(F.relu(self.map_projection(maps))))
        if self.is_full:
            audio, visual = self.audio_lstm(audio, valid), self.visual_lstm(visual, valid)
        heard, seen = self.audio_encoder(audio, valid), self.visual_encoder(visual, valid)
        audio, visual = self.audio_decoder(audio, seen, valid), self.visual_decoder(visual, heard, valid)
        audio_gate, visual_gate = self.audio_gate(heard).sigmoid(), self.visual_gate(seen).sigmoid()
        if self.is_full:
            gate = audio_gate * visual_gate
            audio = audio + self.alpha * visual_gate * audio
            visual = visual + self.alpha * audio_gate * visual
        else:
            # With weak supervision each gate raises the modality that it was computed from.
            gate = (audio_gate + visual_gate) / 2
            audio = (1 - self.alpha) * audio + self.alpha * audio_gate * audio
            visual = (1 - self.alpha) * visual + self.alpha * visual_gate * visual
        audio_classes, visual_classes = self.audio_classes(audio), self.visual_classes(visual)
        visual = self.visual_interaction(visual, audio, valid)
        audio = self.audio_interaction(audio, visual, valid)  # reads the visual segments that were just updated
        fused = (audio + visual) / 2
        return Encoded(audio, visual, fused, weights, None, gate.squeeze(-1), audio_classes, visual_classes)


class PostNormLayer(nn.Module):
    """Attention layer with post-norm: ``x = LN(q + drop(MHA(q, m, m))); LN(x + drop(FF(x)))``.

    Args:
        config: width D, heads, dropouts.
        inner_dim: width inside FF.
    """

    def __init__(self, config: LocalizerConfig, inner_dim: int) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.attention = _attention(dim, config.heads, config.attention_dropout)
        self.feedforward = FeedForward(dim, inner_dim, config.dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Update the query (B, T, D) from the memory (B, S, D); arguments as in `MultiHeadAttention.forward`."""
        x = self.attention_norm(query + self.dropout(self.attention(query, memory, mask)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class SequenceEncoder(nn.Module):
    """Projection to the width of the layers, then self-attention layers, which start from equal parameters.

    Args:
        config: sizes and number of layers.
        dim: width of the input.
    """

    def __init__(self, config: LocalizerConfig, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, config.hidden_dim)
        self.layers = nn.ModuleList(PostNormLayer(config, config.feedforward_dim) for _ in range(config.layers))
        for layer in self.layers[1:]:
            layer.load_state_dict(self.layers[0].state_dict())

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Encode x (B, T, dim) -> (B, T, D); valid (B, T) bool is True on real segments."""
        x = self.projection(x)
        mask = None if valid is None else valid[:, None, :]
        for layer in self.layers:
            x = layer(x, x, mask)
        return x


class SequenceDecoder(nn.Module):
    """Projection of the query to the width of the layer, which attends to the other modality and to the query.

    Args:
        config: sizes.
        dim: width of the query.
    """

    def __init__(self, config: LocalizerConfig, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, config.hidden_dim)
        self.layer = PostNormLayer(config, config.decoder_feedforward_dim)

    def forward(self, query: Tensor, memory: Tensor, valid: Tensor | None) -> Tensor:
        """Decode the query (B, T, dim) from the memory (B, T, D) -> (B, T, D)."""
        query = self.projection(query)
        return self.layer(query, torch.cat([memory, query], dim=1), _both(valid))


class Interaction(nn.Module):
    """Attention from the product of both modalities to both of them: ``LN(p + drop(MHA(p, [other; own])))``.

    Args:
        config: width, heads, dropouts.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.attention = _attention(config.hidden_dim, config.interaction_heads, config.interaction_dropout)
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, own: Tensor, other: Tensor, valid: Tensor | None) -> Tensor:
        """Update one modality from itself and the other, (B, T, D) each."""
        product = own * other
        memory = torch.cat([other, own], dim=1)
        return self.norm(product + self.dropout(self.attention(product, memory, _both(valid))))


def _both(valid: Tensor | None) -> Tensor | None:
    """Return the mask (B, 1, 2T) of a memory of two sequences."""
    return None if valid is None else torch.cat([valid, valid], dim=1)[:, None, :]


def _attention(dim: int, heads: int, dropout: float) -> MultiHeadAttention:
    """Build attention with the initial values of `torch.nn.MultiheadAttention`, which the published program uses."""
    attention = MultiHeadAttention(dim, heads, dropout)
    bound = math.sqrt(6 / (dim + 3 * dim))  # Xavier's, of the three projections as one matrix
    for layer in (attention.query, attention.key, attention.value):
        nn.init.uniform_(layer.weight, -bound, bound)
    for layer in (attention.query, attention.key, attention.value, attention.output):
        nn.init.zeros_(layer.bias)
    return attention
