"""MM-Pyr: the multimodal pyramid attentional encoder (Yu et al., ACM MM 2022), as in the published LEAP program."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ParserConfig
from .layers import AttentionLayer, window_mask

LayerSizes = tuple[int, int, int, float, float]  # the arguments of AttentionLayer, in order


class GatedSum(nn.Module):
    """Gated sum of self-attended features s and cross-attended features c.

    ``sigmoid(L1 [s, c]) * s + sigmoid(L2 [s, c]) * c``; two (B, T, D) -> (B, T, D).

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.self_gate = nn.Linear(2 * dim, dim)
        self.cross_gate = nn.Linear(2 * dim, dim)

    def forward(self, within: Tensor, across: Tensor) -> Tensor:
        both = torch.cat([within, across], dim=-1)
        return torch.sigmoid(self.self_gate(both)) * within + torch.sigmoid(self.cross_gate(both)) * across


class TemporalConv(nn.Module):
    """Residual dilated convolution along time of the same length: ``relu(x + conv1(relu(conv3(x))))``.

    The convolutions are written as linear layers on neighbouring segments side by side, which is faster because there
    are far more channels than segments.

    Args:
        dim: D.
        dilation: distance in segments between the three taps of the kernel; 2^l at level l.
    """

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.wide = nn.Linear(3 * dim, dim)  # on the segments t - dilation, t, t + dilation
        self.point = nn.Linear(dim, dim)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Convolve x (B, T, D); valid (B, T) bool is True on real segments, None when there is no padding."""
        if valid is not None:  # padded segments are 0, like the zero padding past the end of a video
            x = x * valid.unsqueeze(-1)
        length = x.shape[1]
        reach = min(self.dilation, length)  # anything further away is past the end in any case
        padded = F.pad(x, (0, 0, reach, reach))
        shifts = [padded[:, step * reach :][:, :length] for step in range(3)]
        return F.relu(x + self.point(F.relu(self.wide(torch.cat(shifts, dim=-1)))))


class PyramidLevel(nn.Module):
    """Pyramid level l: self- and cross-attention within 2^l segments on each side, gates, convolutions.

    Args:
        level: l, from 0.
        sizes: arguments of `AttentionLayer`.
    """

    def __init__(self, level: int, sizes: LayerSizes) -> None:
        super().__init__()
        dim = sizes[0]
        self.reach = 2**level
        self.audio_self = AttentionLayer(*sizes)
        self.visual_self = AttentionLayer(*sizes)
        self.cross = AttentionLayer(*sizes)  # shared by both directions
        self.audio_gate = GatedSum(dim)
        self.visual_gate = GatedSum(dim)
        self.audio_conv = TemporalConv(dim, self.reach)
        self.visual_conv = TemporalConv(dim, self.reach)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Update both modalities; shapes as in `MMPyramid.forward`."""
        mask = window_mask(audio.shape[1], self.reach, audio.device)
        if valid is not None:
            # A padded query attends to itself: the softmax of a row without any key would be NaN.
            diagonal = torch.eye(len(mask), dtype=torch.bool, device=audio.device)
            mask = (mask & valid[:, None, :]) | diagonal
        # One call serves both directions of the shared layer.
        both_masks = mask if mask.dim() == 2 else torch.cat([mask, mask])
        crossed = self.cross(torch.cat([audio, visual]), torch.cat([visual, audio]), both_masks)
        # `chunk` would fix the size of the batch in exported programs.
        audio_cross, visual_cross = crossed.unflatten(0, (2, audio.shape[0]))
        audio = self.audio_gate(self.audio_self(audio, audio, mask), audio_cross)
        visual = self.visual_gate(self.visual_self(visual, visual, mask), visual_cross)
        return self.audio_conv(audio, valid), self.visual_conv(visual, valid)


class LevelFusion(nn.Module):
    """Weighted sum over pyramid levels; the weights come from attention among the levels of one segment.

    Args:
        dim: D.
        inner_dim: width inside the feed-forward part.
        heads: attention heads.
        dropout: rate on the branches.
        attention_dropout: rate on the attention weights.
    """

    def __init__(self, dim: int, inner_dim: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.interaction = AttentionLayer(dim, inner_dim, heads, dropout, attention_dropout)
        self.select = nn.Linear(dim, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Fuse the outputs of the levels: (B, T, levels, D) -> (B, T, D)."""
        flat = levels.flatten(0, 1)
        mixed = self.interaction(flat, flat)
        return (torch.sigmoid(self.select(mixed)) * mixed).sum(dim=1).unflatten(0, levels.shape[:2])


class MMPyramid(nn.Module):
    """MM-Pyr encoder: pyramid levels of growing windows, fused per segment and modality.

    Source:
        Yu et al., ACM MM 2022; github.com/jasongief/LEAP, which has one cross-attention layer for both directions.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        dropouts = (config.dropout, config.attention_dropout)
        sizes: LayerSizes = (config.hidden_dim, config.feedforward_dim, config.heads, *dropouts)
        self.levels = nn.ModuleList(PyramidLevel(level, sizes) for level in range(config.levels))
        self.audio_fusion = LevelFusion(*sizes)
        self.visual_fusion = LevelFusion(*sizes)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Audio and visual features, (B, T, D) each.
        """
        audio_levels: list[Tensor] = []
        visual_levels: list[Tensor] = []
        for level in self.levels:
            audio, visual = level(audio, visual, valid)
            audio_levels.append(audio)
            visual_levels.append(visual)
        return (
            self.audio_fusion(torch.stack(audio_levels, dim=2)),
            self.visual_fusion(torch.stack(visual_levels, dim=2)),
        )
