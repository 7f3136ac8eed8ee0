"""What encoders hand to decoders."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Encoded(NamedTuple):
    """Encoded segments of B videos; what an encoder does not have is empty or None.

    An encoder of another package returns audio and visual alone.
    """

    audio: Tensor  # (B, T, D)
    visual: Tensor  # (B, T, D)
    projected_audio: Tensor  # (B, T, D), output of the stem
    projected_visual: Tensor  # (B, T, D)
    scales: tuple[tuple[Tensor, Tensor], ...] = ()  # audio and visual (B, T, D) at each of several scales
    audio_groups: Tensor | None = None  # (B, G, D), segments gathered by learned tokens
    visual_groups: Tensor | None = None  # (B, G, D)
    audio_assignment: Tensor | None = None  # (B, G, T), share of each segment in each group
    visual_assignment: Tensor | None = None  # (B, G, T)
    audio_tokens: Tensor | None = None  # (B, G, D), the tokens themselves
    visual_tokens: Tensor | None = None  # (B, G, D)
    others: Encoded | None = None  # encoded without cross-attention, in eval mode where the scores are of both
