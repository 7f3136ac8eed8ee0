"""MGN: the multi-modal grouping network (Mo and Tian, NeurIPS 2022), encoder.

Learned tokens, one for each class, gather the segments of a modality into groups. Shapes: B batch, T segments, S
segments or groups to gather, G groups, C classes, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ParserConfig
from .encoded import Encoded
from .layers import Dropout, MultiHeadAttention

_MLP_RATIO = 0.5  # width between the layers that mix tokens, of D
_INITIAL_DEVIATION = 0.02


class DropPath(Dropout):
    """Stochastic depth: drops the branch of a residual block of a whole clip; kept ones are scaled up.

    Args:
        rate: probability that a clip's branch is dropped in training, in [0, 1).

    Source:
        Huang et al., ECCV 2016.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


class GumbelNoise(Dropout):
    """Noise on logits in training, so that groups other than the most probable one are tried.

    Args:
        rate: factor of the noise, 1 as published; 0 switches it off.

    Source:
        Jang et al., ICLR 2017.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        exponential = torch.empty_like(x).exponential_().clamp(min=torch.finfo(x.dtype).tiny)
        return x - self.rate * exponential.log()


class GELUFeedForward(nn.Sequential):
    """Two-layer perceptron, (..., D) -> (..., D): linear, GELU, dropout, linear."""

    def __init__(self, dim: int, inner_dim: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, inner_dim), nn.GELU(), Dropout(dropout), nn.Linear(inner_dim, dim))


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: ``x = x + drop(MHA(LN(x))); x + drop(FF(LN(x)))``.

    Source:
        Dosovitskiy et al., ICLR 2021.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, config.heads, config.attention_dropout)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.feedforward = GELUFeedForward(dim, config.feedforward_dim, config.dropout)
        self.path = DropPath(config.path_dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Update x (B, S, D) from itself; mask (B, 1, S) is True where it is read, None reads everything."""
        normed = self.attention_norm(x)
        x = x + self.path(self.attention(normed, normed, mask))
        return x + self.path(self.feedforward(self.feedforward_norm(x)))


class Grouped(NamedTuple):
    """Groups, and what belongs to them."""

    groups: Tensor  # (B, G, D)
    assignment: Tensor  # (B, G, S), probability that it belongs to a group; sums to 1 over the groups


class Grouping(nn.Module):
    """Gather segments into groups, one for each token.

    The tokens are mixed with each other, attend to the segments, and every segment is assigned to one of them: softly,
    or ("hard") to the most probable one, whose gradient is that of the soft assignment.

    Args:
        config: widths, heads and dropouts.
        tokens: G.
        hard: how segments are assigned.

    Source:
        Mo and Tian, NeurIPS 2022 (github.com/stoneMo/MGN); Xu et al., CVPR 2022 (GroupViT).
    """

    def __init__(self, config: ParserConfig, tokens: int, *, hard: bool = False) -> None:
        super().__init__()
        dim, inner = config.hidden_dim, config.feedforward_dim
        mixing = max(1, int(dim * _MLP_RATIO))
        self.hard = hard
        self.token_norm = nn.LayerNorm(dim)
        self.token_mixing = GELUFeedForward(tokens, mixing, config.dropout)  # over the G tokens, not over D
        self.mixed_norm = nn.LayerNorm(dim)
        self.segment_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, config.heads, config.attention_dropout)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.feedforward = GELUFeedForward(dim, inner, config.dropout)
        self.path = DropPath(config.path_dropout)
        self.query_norm = nn.LayerNorm(dim)
        self.assign = MultiHeadAttention(dim, 1, 0.0)
        self.noise = GumbelNoise(1.0 if hard else 0.0)
        self.group_norm = nn.LayerNorm(dim)
        self.group_feedforward = GELUFeedForward(dim, inner, config.dropout)

    def forward(
        self, segments: Tensor, tokens: Tensor, valid: Tensor | None, valid_tokens: Tensor | None = None
    ) -> Grouped:
        """Group segments.

        Args:
            segments: (B, S, D).
            tokens: (B, G, D).
            valid: (B, S) bool, True on real segments; None when there is no padding.
            valid_tokens: (B, G) bool, the same of the tokens, where they are segments, too.

        Returns:
            Groups and assignment, 0 at padding.
        """
        segments = self.segment_norm(segments)
        tokens = self.token_norm(tokens)
        if valid_tokens is not None:
            tokens = tokens * valid_tokens.unsqueeze(-1)
        tokens = self.mixed_norm(self.token_mixing(tokens.transpose(1, 2)).transpose(1, 2))
        mask = None if valid is None else valid[:, None, :]
        tokens = tokens + self.path(self.attention(tokens, segments, mask))
        tokens = self.query_norm(tokens + self.path(self.feedforward(self.feedforward_norm(tokens))))
        soft = self._assign(tokens, segments, valid, valid_tokens)
        share = soft
        if self.hard:
            most = soft.argmax(dim=1, keepdim=True)
            chosen = torch.zeros_like(soft).scatter(1, most, 1.0)
            # Straight-through: the value is the choice, the gradient that of the soft assignment.
            share = (chosen if valid is None else chosen * valid[:, None, :]) - soft.detach() + soft
        share = (share / (share.sum(dim=-1, keepdim=True) + 1)).to(segments.dtype)
        groups = self.assign.output(share @ self.assign.value(segments)) + tokens
        return Grouped(groups + self.group_feedforward(self.group_norm(groups)), soft)

    def _assign(self, tokens: Tensor, segments: Tensor, valid: Tensor | None, valid_tokens: Tensor | None) -> Tensor:
        """Return the probability of each group for each segment, (B, G, S), at least float32."""
        logits = self.assign.logits(tokens, segments)
        logits = self.noise(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        if valid_tokens is not None:
            logits = logits.masked_fill(~valid_tokens.unsqueeze(-1), float("-inf"))
        soft = logits.softmax(dim=1)
        return soft if valid is None else soft * valid[:, None, :]


class ModalityGrouping(nn.Module):
    """Blocks over the segments of a modality and its tokens, then groups of the segments.

    Args:
        config: sizes.
        regroup: whether the segments are first regrouped by those of another modality, see `forward`.
    """

    def __init__(self, config: ParserConfig, *, regroup: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.group_blocks))
        self.regrouping = Grouping(config, config.segments, hard=True) if regroup else None
        self.grouping = Grouping(config, len(config.labels))

    def forward(self, segments: Tensor, tokens: Tensor, others: Tensor, valid: Tensor | None) -> tuple[Tensor, Grouped]:
        """Encode and group segments.

        Args:
            segments: (B, T, D).
            tokens: (B, C, D).
            others: (B, T, D), segments of the other modality: the tokens of the regrouping.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            The segments (B, T, D) that were grouped, and the groups (B, C, D).
        """
        segments, tokens = run_blocks(self.blocks, segments, tokens, valid)
        if self.regrouping is not None:
            segments = self.regrouping(segments, others, valid, valid).groups
        return segments, self.grouping(segments, tokens, valid)


class MGN(nn.Module):
    """MGN encoder.

    The audio segments become as many groups of the projected visual segments, each segment in one of them; the
    published program says "soft" and does the opposite. A layer of that step has one weight for each of the T
    `ParserConfig.segments`: shorter videos are padded to T, longer ones need windows.

    Source:
        Mo and Tian, NeurIPS 2022; github.com/stoneMo/MGN.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.segments = config.segments
        self.audio_tokens = nn.Parameter(torch.zeros(len(config.labels), config.hidden_dim))
        self.visual_tokens = nn.Parameter(torch.zeros(len(config.labels), config.hidden_dim))
        self.audio = ModalityGrouping(config, regroup=True)
        self.visual = ModalityGrouping(config, regroup=False)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode and group both modalities.

        Args:
            audio: (B, T, D), T at most `ParserConfig.segments`.
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Encoded segments with groups and assignments.

        Raises:
            ValueError: T is larger.
        """
        batch, length, _ = audio.shape
        if length > self.segments:
            raise ValueError(
                f"{length} segments are more than {self.segments}, for each of which the encoder mgn has weights:"
                f" parse windows of {self.segments}"
            )
        projected = audio, visual
        if missing := self.segments - length:
            real = torch.ones(batch, length, dtype=torch.bool, device=audio.device) if valid is None else valid
            valid = F.pad(real, (0, missing))
            audio, visual = F.pad(audio, (0, 0, 0, missing)), F.pad(visual, (0, 0, 0, missing))
        audio_tokens, visual_tokens = (
            tokens.expand(batch, -1, -1) for tokens in (self.audio_tokens, self.visual_tokens)
        )
        audio_segments, audio_grouped = self.audio(audio, audio_tokens, visual, valid)
        visual_segments, visual_grouped = self.visual(visual, visual_tokens, audio, valid)
        return Encoded(
            audio_segments[:, :length],
            visual_segments[:, :length],
            *projected,
            audio_groups=audio_grouped.groups,
            visual_groups=visual_grouped.groups,
            audio_assignment=audio_grouped.assignment[:, :, :length],
            visual_assignment=visual_grouped.assignment[:, :, :length],
            audio_tokens=audio_tokens,
            visual_tokens=visual_tokens,
        )


def run_blocks(blocks: nn.ModuleList, first: Tensor, second: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run transformer blocks over two sequences, one behind the other.

    Args:
        blocks: of `TransformerBlock`.
        first: (B, S, D).
        second: (B, G, D).
        valid: (B, S) bool, True on the real ones of the first; None when there is no padding.

    Returns:
        Both, updated.
    """
    length = first.shape[1]
    mask = None if valid is None else F.pad(valid, (0, second.shape[1]), value=True)[:, None, :]
    both = torch.cat([first, second], dim=1)
    for block in blocks:
        both = block(both, mask)
    return both[:, :length], both[:, length:]


def initialize(module: nn.Module) -> None:
    """Set the initial parameters of a layer as the published program does: weights N(0, 0.02), biases 0.

    Args:
        module: linear layers are changed, others are not.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INITIAL_DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
