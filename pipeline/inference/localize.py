"""Probabilities of a localizer, in the form that parsers have, and its decision: one class a second.

A localizer predicts for each second one class that is both heard and seen, or the background. Its probabilities are
those of `LocalizerOutput.segment_probs`, equal for both modalities; a class is probable in the video as far as it is in
its most probable second.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.localizers.config import LocalizerConfig
from ...models.localizers.output import LocalizerOutput
from ..timeline import SegmentLabels, SegmentProbabilities
from .thresholds import Thresholds


def stack_localized(output: LocalizerOutput) -> Tensor:
    """Return the one table of probabilities that a localizer has, (B, 1, T, C) float32."""
    probs = output.segment_probs
    if probs.dtype == torch.float64:  # as published files of CMBS and CPSP; rounding must not reach 0.5 from below
        below = float(np.nextafter(np.float32(0.5), np.float32(0)))
        probs = torch.where(probs < 0.5, probs.clamp(max=below), probs)
    return probs[:, None].float()


def join_windows(averaged: NDArray[np.float32], config: LocalizerConfig) -> NDArray[np.float32]:
    """Make the probabilities of a video from their means over its windows.

    Where the background is a class, they are the means: each window gives two classes of a second together at most 1,
    so that at most one of them is above 0.5. Systems that detect events apart from their category give one class a
    window: where two windows disagree, the second has the class with the larger mean, and the mean probability of an
    event.

    Args:
        averaged: (T, C).
        config: of the localizer.

    Returns:
        (T, C).
    """
    if not detects_apart(config):
        return averaged
    events = averaged.sum(axis=1, dtype=np.float64).astype(np.float32).clip(0, 1)
    joined = np.zeros_like(averaged)
    seconds = np.arange(len(averaged))
    joined[seconds, averaged.argmax(axis=1)] = events
    return joined


def detects_apart(config: LocalizerConfig) -> bool:
    """Return whether a window has one class, and its seconds only a probability of an event (CMBS and CPSP)."""
    return config.system in {"cmbs", "cpsp"}


def to_probabilities(table: NDArray[np.float32]) -> SegmentProbabilities:
    """Give both modalities the probabilities of a video, (T, C), or of N clips, (N, T, C) with zeros at padding."""
    video = np.broadcast_to(table.max(axis=-2, keepdims=True), table.shape)
    return SegmentProbabilities(table, table, video, video)


def decide_one_class(probabilities: SegmentProbabilities, thresholds: Thresholds) -> SegmentLabels:
    """Decide which class is active in which second, at most one.

    With thresholds of 0.5 these are the localizer's own predictions. Lower ones add seconds, in which several classes
    may reach their threshold: the most probable of them is active, of equals the first.

    Args:
        probabilities: of one video or of N clips, of a localizer.
        thresholds: of its classes. As both modalities have the same probabilities, the higher one of the two counts.

    Returns:
        Labels of the same shape, equal in both modalities.
    """
    active = thresholds.decide(probabilities).audio_visual
    best = np.where(active, probabilities.audio, -1).argmax(axis=-1)
    alone = active & (np.arange(active.shape[-1]) == best[..., None])
    return SegmentLabels(alone, alone)
