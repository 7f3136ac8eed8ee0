"""CVCMS's contrast across videos: sounds and pictures of videos that share a class are alike.

Shapes: B batch, T segments, C classes, D width.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .binary import loss_dtype


def pool_by_labels(hidden: Tensor, logits: Tensor, labels: Tensor, valid: Tensor | None = None) -> Tensor:
    """Pool the seconds of each clip by how much they show of the classes that the clip has.

    Args:
        hidden: (B, T, D), encoded.
        logits: (B, T, C), attention over the segments for each class, summed over the clip's classes before its
            softmax over T.
        labels: (B, C), 1 for the classes that the clip has in this modality. Without any, all seconds count alike.
        valid: (B, T) bool, True on real segments, which alone count; None when there is no padding.

    Returns:
        (B, D) of norm 1, at least float32.
    """
    dtype = loss_dtype(hidden)
    scores = (logits.to(dtype) * labels[:, None, :].to(dtype)).sum(dim=-1)
    if valid is not None:
        scores = scores.masked_fill(~valid, float("-inf"))
    return F.normalize((scores.softmax(dim=1)[:, :, None] * hidden.to(dtype)).sum(dim=1), dim=-1)


def across_loss(audio: Tensor, visual: Tensor, audio_labels: Tensor, visual_labels: Tensor) -> Tensor:
    """Compute the cross-entropy of cosines of sounds and pictures to whether they share a class, over a batch.

    A sound that shares no class with any picture has no target and adds 0.

    Args:
        audio: (B, D) of norm 1, see `pool_by_labels`.
        visual: (B, D) of norm 1.
        audio_labels: (B, C), 1 for the classes that a clip has in its sound, else 0.
        visual_labels: (B, C), the same of its picture.

    Returns:
        Scalar, mean over the sounds, at least float32.

    Source:
        Lin et al.: Exploring Cross-Video and Cross-Modality Signals for Weakly-Supervised Audio-Visual Video Parsing,
        NeurIPS 2021; github.com/GenjiB/CM-Co-Occurrence-AVVP.
    """
    similarities = audio @ visual.transpose(0, 1)
    shared = (audio_labels.to(similarities.dtype) @ visual_labels.to(similarities.dtype).transpose(0, 1) > 0).to(
        similarities.dtype
    )
    targets = shared / shared.sum(dim=-1, keepdim=True).clamp(min=1)
    return -(targets * similarities.log_softmax(dim=-1)).sum(dim=-1).mean()
