"""HAN: the hybrid attention network encoder (Tian et al., ECCV 2020), and later systems' variants of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from .config import ParserConfig
from .encoded import Encoded
from .layers import Dropout, FeedForward, MultiHeadAttention


class HANLayer(nn.Module):
    """Self- and cross-attention layer with post-norm, shared by both modalities.

    ``x = LN(q + drop(cross(q, other)) + drop(self(q))); out = LN(x + drop(FF(x)))``.

    Args:
        dim: D.
        inner_dim: width between the two linear layers of FF.
        heads: attention heads.
        dropout: rate on the branches and inside FF.
        attention_dropout: rate on the attention weights.
        cross_attention: whether the layer has the cross-attention branch.

    Source:
        Tian et al., ECCV 2020; github.com/YapengTian/AVVP-ECCV20.
    """

    def __init__(
        self,
        dim: int,
        inner_dim: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        *,
        cross_attention: bool = True,
    ) -> None:
        super().__init__()
        self.within = MultiHeadAttention(dim, heads, attention_dropout)
        self.across = MultiHeadAttention(dim, heads, attention_dropout) if cross_attention else None
        self.feedforward = FeedForward(dim, inner_dim, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, other: Tensor | None, mask: Tensor | None) -> Tensor:
        """Update one modality from itself and from the other.

        Args:
            query: (B, T, D), the modality to update.
            other: (B, T, D), the other modality; None leaves out the cross-attention.
            mask: bool, broadcastable to (B, T, T), True = attend; None attends everywhere.

        Returns:
            (B, T, D).
        """
        if other is None or self.across is None:
            attended = self.dropout(self.within(query, query, mask))
        else:
            attended = self.dropout(self.across(query, other, mask)) + self.dropout(self.within(query, query, mask))
        x = self.attention_norm(query + attended)
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class HAN(nn.Module):
    """HAN encoder; each layer serves both modalities.

    `han_order` "parallel" (Tian et al.): both modalities attend to the other's input of the layer. "sequential"
    (VALOR): visual attends to the audio that the layer has already updated. With a `cross_share` s below 1 (CMPAE) the
    encoder runs twice, with and without cross-attention, and returns ``s with + (1 - s) without``.

    Attributes:
        cross_attention: whether the modalities attend to each other, see `without_cross_attention`.

    Source:
        Tian et al., ECCV 2020; Lai et al., NeurIPS 2023 (github.com/Franklin905/VALOR); without cross-attention: Cheng
        et al., ECCV 2022 (github.com/MCG-NJU/JoMoLD); both: Gao et al., CVPR 2023
        (github.com/MengyuanChen21/CVPR2023-CMPAE).
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.sequential = config.han_order == "sequential"
        self.cross_attention = config.cross_attention
        self.share = config.cross_share
        self.scored_twice = config.self_attention_share > 0
        sizes = (config.hidden_dim, config.feedforward_dim, config.heads, config.dropout, config.attention_dropout)
        self.layers = nn.ModuleList(
            HANLayer(*sizes, cross_attention=config.cross_attention) for _ in range(config.layers)
        )

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Encoded segments; `others` is the encoding without cross-attention in eval mode, if `self_attention_share`
            asks for it.
        """
        mask = None if valid is None else valid[:, None, :]
        encoded = Encoded(*self._run(audio, visual, mask, across=self.cross_attention), audio, visual)
        scored_twice = self.scored_twice and not self.training
        if not self.cross_attention or not (self.share < 1 or scored_twice):
            return encoded
        alone = Encoded(*self._run(audio, visual, mask, across=False), audio, visual)
        if self.share < 1:
            encoded = encoded._replace(
                audio=encoded.audio * self.share + alone.audio * (1 - self.share),
                visual=encoded.visual * self.share + alone.visual * (1 - self.share),
            )
        return encoded._replace(others=alone) if scored_twice else encoded

    def _run(self, audio: Tensor, visual: Tensor, mask: Tensor | None, *, across: bool) -> tuple[Tensor, Tensor]:
        """Return audio and visual (B, T, D) behind the last layer."""
        for layer in self.layers:
            new_audio = layer(audio, visual if across else None, mask)
            read = new_audio if self.sequential else audio
            visual = layer(visual, read if across else None, mask)
            audio = new_audio
        return audio, visual


@contextmanager
def without_cross_attention(encoder: nn.Module) -> Iterator[None]:
    """Let an encoder compute without cross-attention inside a ``with`` block, as JoMoLD does to find wrong labels.

    Args:
        encoder: a HAN encoder.

    Raises:
        ValueError: it is another encoder.
    """
    if not isinstance(encoder, HAN):
        raise ValueError(f"{type(encoder).__name__} cannot run without cross-attention; the encoder han can")
    before, encoder.cross_attention = encoder.cross_attention, False
    try:
        yield
    finally:
        encoder.cross_attention = before
