"""Result types of the encoders and of the classifiers of localizers."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Encoded(NamedTuple):
    """Encoded segments. Values at padded segments are arbitrary."""

    audio: Tensor  # (B, T, D)
    visual: Tensor  # (B, T, D)
    fused: Tensor  # (B, T, `LocalizerConfig.fused_dim`)
    attention: Tensor  # (B, T, P), of the positions of the feature map, sums to 1
    similarity: Tensor | None = None  # (B, T), cosine of audio and visual
    gate: Tensor | None = None  # (B, T), in [0, 1]
    audio_classes: Tensor | None = None  # (B, T, Q), classes of the modality alone
    visual_classes: Tensor | None = None  # (B, T, Q)


class Classified(NamedTuple):
    """What a system's own classifier, or LEAP in its place, makes of the encoded segments."""

    segment_logits: Tensor | None = None  # (B, T, Q); LEAP: of every label, also where events are detected apart
    event_logits: Tensor | None = None  # (B, T); None where LEAP's logits of the clip's class stand for them
    category_logits: Tensor | None = None  # (B, C), None where the background is a class
    label_video_logits: Tensor | None = None  # (B, Q), LEAP
    attention: Tensor | None = None  # (B, Q, T), LEAP
