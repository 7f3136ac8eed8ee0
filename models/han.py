"""HAN: the hybrid attention network encoder (Tian et al., ECCV 2020), and VALOR's variant of it."""

from __future__ import annotations

from torch import Tensor, nn

from .config import ParserConfig
from .layers import Dropout, FeedForward, MultiHeadAttention


class HANLayer(nn.Module):
    """Self- and cross-attention layer with post-norm, shared by both modalities.

    ``x = LN(q + drop(cross(q, other)) + drop(self(q))); out = LN(x + drop(FF(x)))``.

    Source:
        Tian et al., ECCV 2020; github.com/YapengTian/AVVP-ECCV20.
    """

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
        """Update one modality from itself and from the other.

        Args:
            query: (B, T, D), the modality to update.
            other: (B, T, D), the other modality.
            mask: bool, broadcastable to (B, T, T), True = attend; None attends everywhere.

        Returns:
            (B, T, D).
        """
        attended = self.dropout(self.across(query, other, mask)) + self.dropout(self.within(query, query, mask))
        x = self.attention_norm(query + attended)
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class HAN(nn.Module):
    """HAN encoder; each layer serves both modalities.

    `han_order` "parallel" (Tian et al.): both modalities attend to the other's input of the layer. "sequential"
    (VALOR): visual attends to the audio that the layer has already updated.

    Source:
        Tian et al., ECCV 2020; Lai et al., NeurIPS 2023 (github.com/Franklin905/VALOR).
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.sequential = config.han_order == "sequential"
        self.layers = nn.ModuleList(HANLayer(config) for _ in range(config.layers))

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Audio and visual features, (B, T, D) each.
        """
        mask = None if valid is None else valid[:, None, :]
        for layer in self.layers:
            new_audio = layer(audio, visual, mask)
            visual = layer(visual, new_audio if self.sequential else audio, mask)
            audio = new_audio
        return audio, visual
