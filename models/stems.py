"""Stems by name: extractors' features of the seconds -> vectors of the encoder's width.

Shapes: B batch, T segments, k frames per segment, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ParserConfig


class FeatureStem(nn.Module):
    """Linear projections; the two visual streams are fused by a third. Without `visual_3d_dim` there is no fusion.

    Source:
        github.com/YapengTian/AVVP-ECCV20 (fc_a, fc_v, fc_st, fc_fusion); one visual stream: github.com/fyyCS/LSLD.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.audio = nn.Linear(config.audio_dim, config.hidden_dim)
        self.visual_2d = nn.Linear(config.visual_2d_dim, config.hidden_dim)
        if config.visual_3d_dim:
            self.visual_3d = nn.Linear(config.visual_3d_dim, config.hidden_dim)
            self.fusion = nn.Linear(2 * config.hidden_dim, config.hidden_dim)

    def forward(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Project the features.

        Args:
            audio: (B, T, audio_dim).
            visual_2d: (B, kT, visual_2d_dim), k frames per segment.
            visual_3d: (B, T, visual_3d_dim); None where `visual_3d_dim` is 0.

        Returns:
            Audio and visual features, (B, T, D) each.
        """
        # The projection is affine, so averaging the frames first is the same function, k times cheaper.
        visual = self.visual_2d(mean_of_frames(visual_2d, audio.shape[1]))
        if visual_3d is not None:
            visual = self.fusion(torch.cat([visual, self.visual_3d(visual_3d)], dim=-1))
        return self.audio(audio), visual


class FrameStem(FeatureStem):
    """Projections with an ELU behind each; the frames of a second are averaged behind theirs.

    The mean of a second's frames is no substitute for them: it moves the published probabilities by up to 0.017.

    Source:
        Gao et al., CVPR 2023; github.com/MengyuanChen21/CVPR2023-CMPAE.
    """

    def forward(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Project the features; arguments and result as in `FeatureStem.forward`."""
        visual = mean_of_frames(F.elu(self.visual_2d(visual_2d)), audio.shape[1])
        if visual_3d is not None:
            visual = F.elu(self.fusion(torch.cat([visual, F.elu(self.visual_3d(visual_3d))], dim=-1)))
        return F.elu(self.audio(audio)), visual


class MLPStem(nn.Module):
    """Two-layer perceptron for audio; one projection of the visual streams side by side.

    Source:
        Lai et al., CVPR 2025 (UWAV).
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        inner, dim = config.stem_hidden_dim, config.hidden_dim
        self.audio = nn.Sequential(nn.Linear(config.audio_dim, inner), nn.ReLU(), nn.Linear(inner, dim))
        self.visual = nn.Linear(config.visual_2d_dim + config.visual_3d_dim, dim)

    def forward(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Project the features; arguments and result as in `FeatureStem.forward`."""
        visual = mean_of_frames(visual_2d, audio.shape[1])
        if visual_3d is not None:
            visual = torch.cat([visual, visual_3d], dim=-1)
        return self.audio(audio), self.visual(visual)


STEMS: dict[str, Callable[[ParserConfig], nn.Module]] = {"linear": FeatureStem, "elu": FrameStem, "mlp": MLPStem}


def mean_of_frames(frames: Tensor, segments: int) -> Tensor:
    """Average the frames of each segment: (B, kT, D) with T `segments` -> (B, T, D)."""
    return frames.unflatten(1, (segments, -1)).mean(dim=2)
