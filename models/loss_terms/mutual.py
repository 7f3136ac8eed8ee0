"""CMPAE's mutual learning: predictions of the whole video and of its modalities teach each other in turn.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .binary import loss_dtype

_LEAST_WEIGHT = 0.9  # of the turn in which the video learns


def mutual_learning_loss(  # noqa: PLR0917 - public signature
    target: Tensor,
    video: Tensor,
    audio: Tensor,
    visual: Tensor,
    audio_uncertainty: Tensor,
    visual_uncertainty: Tensor,
    video_uncertainty: Tensor,
    step: int,
) -> Tensor:
    """Compute the squared distance between the prediction for the video and that of its modalities.

    For a class of the clip, the modality with the larger probability stands for both, and the distance is weighted by
    1 - its uncertainty; for other classes it is the mean of both, with 1 - their mean uncertainty. In odd steps the
    video learns from the modalities, with the weight w, the video's uncertainty but at least 0.9; in even ones the
    modalities learn from the video, with 1 - w. Gradients pass through the uncertainties, as in the published program.

    Args:
        target: (B, C), 1 for the classes of the clip, else 0.
        video: (B, C) probabilities of the whole video.
        audio: (B, C) probabilities of the audio for the video.
        visual: (B, C) probabilities of the visual for the video.
        audio_uncertainty: (B, C), 0 to 1.
        visual_uncertainty: (B, C), 0 to 1.
        video_uncertainty: (B,), 0 to 1.
        step: number of the batch in its epoch, from 0.

    Returns:
        Scalar, mean over B and C, at least float32.

    Source:
        github.com/MengyuanChen21/CVPR2023-CMPAE.
    """
    dtype = loss_dtype(video)
    target, video, audio, visual, audio_uncertainty, visual_uncertainty, video_uncertainty = (
        tensor.to(dtype)
        for tensor in (target, video, audio, visual, audio_uncertainty, visual_uncertainty, video_uncertainty)
    )
    weight = video_uncertainty.clamp(min=_LEAST_WEIGHT)[:, None]
    if step % 2:
        audio, visual = audio.detach(), visual.detach()
    else:
        video, weight = video.detach(), 1 - weight
    is_audio = audio >= visual
    sure = 1 - torch.where(is_audio, audio_uncertainty, visual_uncertainty)
    of_clip = sure * (video - torch.where(is_audio, audio, visual)).square()
    others = (1 - (audio_uncertainty + visual_uncertainty) / 2) * (video - (audio + visual) / 2).square()
    return (weight * (target * of_clip + (1 - target) * others)).mean()
