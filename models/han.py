"""HAN: the hybrid attention network encoder (Tian et al., ECCV 2020), and VALOR's form of it."""

from __future__ import annotations

from torch import Tensor, nn

from .config import ParserConfig
from .layers import Dropout, FeedForward, MultiHeadAttention


class HANLayer(nn.Module):
    """``x = LN(q + drop(cross(q, other)) + drop(self(q))); out = LN(x + drop(FF(x)))``, for either modality."""

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.within = MultiHeadAttention(dim, config.heads, config.attention_dropout)
        self.across = MultiHeadAttention(dim, config.heads, config.attention_dropout)
        self.feedforward = FeedForward(dim, config.feedforward_dim, config.dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, query: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """query, other (B, T, D), mask broadcastable to (B, T, T), True = attend -> (B, T, D)."""
        gathered = self.dropout(self.across(query, other, mask)) + self.dropout(self.within(query, query, mask))
        x = self.attention_norm(query + gathered)
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class HAN(nn.Module):
    """audio, visual (B, T, D) -> audio, visual (B, T, D). Each layer serves both modalities.

    "parallel" (Tian et al.): both read the layer's input of the other. "sequential" (VALOR): visual reads the audio
    that the layer has already updated. valid (B, T) is True on real segments.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.sequential = config.han_order == "sequential"
        self.layers = nn.ModuleList(HANLayer(config) for _ in range(config.layers))

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mask = None if valid is None else valid[:, None, :]
        for layer in self.layers:
            heard = layer(audio, visual, mask)
            visual = layer(visual, heard if self.sequential else audio, mask)
            audio = heard
        return audio, visual
