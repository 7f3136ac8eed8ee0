"""Similarity of audio and visual segments, and its targets (LEAP paper, Eq. 10 and 11).

Shapes: B batch, T segments, C classes, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .binary import loss_dtype

_MIN_EVENTS = 1e-8  # avoids 0 / 0 in the published similarity target of a video without events


def eiou(audio: Tensor, visual: Tensor) -> Tensor:
    """Compute the event intersection over union (EIoU) of every pair of audio and visual segments.

    Two segments without events get 0: they share no event, and silence has no reason to be similar to an empty scene.
    The published program's target is lowest for them, too.

    Args:
        audio: (B, T, C), 0 or 1.
        visual: (B, T, C), 0 or 1.

    Returns:
        (B, T, T) in [0, 1]; element [b, i, j] compares audio segment i with visual segment j.

    Source:
        LEAP paper, Eq. 10.
    """
    audio, visual = audio.float(), visual.float()
    shared = audio @ visual.transpose(1, 2)
    either = audio.sum(-1)[:, :, None] + visual.sum(-1)[:, None, :] - shared
    return shared / either.clamp(min=1)


def published_similarity_target(audio: Tensor, visual: Tensor, offset: float = 0.01) -> Tensor:
    """Compute the published program's target similarity of every pair of segments: ``x / (1 + x) + offset``.

    x is the number of events that both segments have, divided by the largest number of events in any segment of the
    video, in either modality.

    Args:
        audio: (B, T, C), 0 or 1.
        visual: (B, T, C), 0 or 1.
        offset: added to every target.

    Returns:
        (B, T, T); element [b, i, j] compares audio segment i with visual segment j.

    Source:
        github.com/jasongief/LEAP.
    """
    audio, visual = audio.float(), visual.float()
    most = torch.maximum(audio.sum(-1).amax(-1), visual.sum(-1).amax(-1)).clamp(min=_MIN_EVENTS)
    share = audio @ visual.transpose(1, 2) / most[:, None, None]
    return share / (1 + share) + offset


def cosine_similarities(audio: Tensor, visual: Tensor) -> Tensor:
    """Compute the ReLU of the cosine between every audio and every visual segment.

    Args:
        audio: (B, T, D).
        visual: (B, T, D).

    Returns:
        (B, T, T) in [0, 1], at least float32.

    Source:
        github.com/jasongief/LEAP.
    """
    dtype = loss_dtype(audio)
    audio, visual = F.normalize(audio.to(dtype), dim=-1), F.normalize(visual.to(dtype), dim=-1)
    return F.relu(audio @ visual.transpose(1, 2))


SIMILARITIES = {
    "published": lambda audio, visual, objective: published_similarity_target(
        audio, visual, objective.similarity_offset
    ),
    "eiou": lambda audio, visual, _: eiou(audio, visual),
}


def similarity_loss(audio: Tensor, visual: Tensor, expected: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean squared error of the similarities over pairs of real segments.

    Args:
        audio: (B, T, D).
        visual: (B, T, D).
        expected: (B, T, T), target of `cosine_similarities`.
        valid: (B, T) bool, True on real segments.

    Returns:
        Scalar, at least float32.

    Source:
        LEAP paper, Eq. 11.
    """
    predicted = cosine_similarities(audio, visual)
    pairs = valid[:, :, None] & valid[:, None, :]
    return ((predicted - expected.to(predicted.dtype)).square() * pairs).sum() / pairs.sum()
