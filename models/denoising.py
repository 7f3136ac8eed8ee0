"""Denoising of weak labels: which labels of a video do not hold for its sound, and which not for its picture.

A weak label says that a class occurs in a video, not whether it is heard, seen or both. The functions find labels of
one modality that are probably wrong, from the probabilities of a parser that was trained on the weak labels. They are
pure functions of NumPy arrays. Shapes: N videos, B videos of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

MODALITY_RULES = ("ma", "cvcms")
WARM_UPS = ("published", "ramp", "none")
DOUBT_BELOW = 0.5  # MA: a normalised probability below it speaks against a label
AUDIO_NOISE_BELOW = 0.6  # JoMoLD: share of a class's mean probability below which a label counts as noise
VISUAL_NOISE_BELOW = 1.8
_KEPT = 0.9  # of the visual labels when they are smoothed, in the programs of MA and JoMoLD
_PROB_MARGIN = 1e-7  # probabilities are clamped this far from 0 and 1, as in every published program


class RemovedLabels(NamedTuple):
    """Labels that do not hold for a modality, (N, C) bool."""

    audio: Bools
    visual: Bools


class ModalityTargets(NamedTuple):
    """Training targets of videos and of their modalities after denoising, (N, C), 0 to 1."""

    video: Floats
    audio: Floats
    visual: Floats


class NoiseRatios(NamedTuple):
    """Share of each class's labels that is noise in a modality, (C,), 0 to 1."""

    audio: Floats
    visual: Floats


class DenoisedTargets(NamedTuple):
    """Targets of the modalities of a batch after removal, (B, C)."""

    audio: Floats
    visual: Floats


def modality_aware_removals(
    audio_of: Mapping[str, Floats],
    visual_of: Mapping[str, Floats],
    weak: NDArray[Any],
    audio_accuracy: Floats,
    visual_accuracy: Floats,
    *,
    below: float = DOUBT_BELOW,
) -> RemovedLabels:
    """Find the labels that a video does not support when its other modality is exchanged.

    The sound of a video is shown with the picture of a partner, and its picture with the sound of a partner, that
    share no label with it. A label that neither head then finds is not in the modality that was kept. Probabilities
    are divided by the error of the class, relative to the largest error of a class: labels of classes that the parser
    knows well are kept more easily.

    Args:
        audio_of: "own_sound" and "own_picture" -> (N, C) audio probabilities of the video with its own sound and a
            partner's picture, and with a partner's sound and its own picture.
        visual_of: the same of the visual probabilities.
        weak: (N, C) labels of the videos, 0 or 1.
        audio_accuracy: (C,) share of videos whose audio prediction (above 0.5) equals the label.
        visual_accuracy: (C,) the same of the visual predictions.
        below: normalised probability below which a head does not find a label.

    Returns:
        The labels to remove; never one that the video does not have. Where every class is always right there is
        nothing to compare with, and nothing is removed.

    Raises:
        ValueError: an array is missing or has another shape.

    Source:
        MA (Wu and Yang, CVPR 2021), stage 2 of the published program.
    """
    labels = np.asarray(weak) > 0.5
    for name, of in (("audio_of", audio_of), ("visual_of", visual_of)):
        for key in ("own_sound", "own_picture"):
            if key not in of or np.shape(of[key]) != labels.shape:
                raise ValueError(f"{name}[{key!r}] must be an array of shape {labels.shape}")

    def finds(probs: Floats, accuracy: Floats) -> Bools:
        error = 1 - np.asarray(accuracy)
        largest = error.max(initial=0)
        share = error / largest if largest > 0 else np.zeros_like(error)
        with np.errstate(divide="ignore", invalid="ignore"):  # a class without errors keeps its labels
            return ~(np.asarray(probs) / share < below)

    def unsupported(kept: str, accuracy: Floats) -> Bools:
        return labels & ~finds(audio_of[kept], accuracy) & ~finds(visual_of[kept], accuracy)

    return RemovedLabels(unsupported("own_sound", audio_accuracy), unsupported("own_picture", visual_accuracy))


def modality_targets(
    weak: NDArray[Any], removed_audio: NDArray[Any], removed_visual: NDArray[Any], rule: str
) -> ModalityTargets:
    """Make the targets that a published program trains with after labels were removed.

    Args:
        weak: (N, C) labels of the videos, 0 or 1.
        removed_audio: (N, C) labels that do not hold for the sound; other entries than labels are ignored.
        removed_visual: the same for the picture.
        rule: "ma": visual labels are smoothed to 0.95 and 0.05, removed ones become 0; the video loses the labels that
            its sound loses, even those that are seen, because both are one array in the published program. "cvcms":
            nothing is smoothed, and the video has the labels of either modality.

    Returns:
        The targets, float64.

    Raises:
        ValueError: the rule is unknown.

    Source:
        The published programs of MA and CVCMS. In recipes: `objective.video_targets` "audio" and "modalities".
    """
    if rule not in MODALITY_RULES:
        raise ValueError(f"rule is {rule!r}, not one of {', '.join(MODALITY_RULES)}")
    labels = np.asarray(weak) > 0.5
    audio = labels & ~np.asarray(removed_audio, bool)
    visual = labels & ~np.asarray(removed_visual, bool)
    if rule == "cvcms":
        return ModalityTargets(*(table.astype(float) for table in (audio | visual, audio, visual)))
    smoothed = np.where(labels & ~visual, 0.0, _KEPT * labels + (1 - _KEPT) * 0.5)
    return ModalityTargets(audio.astype(float), audio.astype(float), smoothed)


def noise_ratios(
    audio_probs: Floats,
    visual_probs: Floats,
    weak: NDArray[Any],
    *,
    batch_size: int,
    audio_below: float = AUDIO_NOISE_BELOW,
    visual_below: float = VISUAL_NOISE_BELOW,
) -> NoiseRatios:
    """Estimate which share of each class's labels is noise in each modality.

    A label counts as noise where the probability of the class is low in comparison with its mean over all videos.

    Args:
        audio_probs: (N, C) audio probabilities of a parser without cross-attention, in the order of its batches.
        visual_probs: (N, C) visual probabilities.
        weak: (N, C) labels of the videos, 0 or 1.
        batch_size: videos in a batch. The mean over all videos is the mean of the means of the batches, of which the
            last, smaller one counts as much as the others.
        audio_below: a label is noise if the probability is below this multiple of the mean.
        visual_below: the same for the picture; the probability is multiplied by the smoothed label, 0.95.

    Returns:
        The ratios, float64; 0 for a class without labels.

    Raises:
        ValueError: the arrays have different shapes, hold no video or values that are not finite, or the batch size is
            below 1.

    Source:
        JoMoLD (Cheng et al., ECCV 2022), stage 2 of the published program.
    """
    labels = np.asarray(weak) > 0.5
    shapes = [np.shape(table) for table in (audio_probs, visual_probs, labels)]
    if len(set(shapes)) > 1 or labels.ndim != 2 or not len(labels):
        raise ValueError(f"expected three arrays of the same shape (N, C), got {', '.join(map(str, shapes))}")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if not (np.isfinite(audio_probs).all() and np.isfinite(visual_probs).all()):
        raise ValueError("the probabilities are not finite")
    counts = labels.sum(axis=0)

    def ratio(probs: Floats, target: float, below: float) -> Floats:
        starts = range(0, len(probs), batch_size)
        mean = np.mean([probs[first : first + batch_size].mean(axis=0) for first in starts], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = labels & (probs * np.asarray(target, probs.dtype) / mean < below)
        return noise.sum(axis=0) / np.maximum(counts, 1)

    visual_target = _KEPT + (1 - _KEPT) * 0.5
    return NoiseRatios(
        ratio(np.asarray(audio_probs), 1.0, audio_below), ratio(np.asarray(visual_probs), visual_target, visual_below)
    )


def warmed_ratio(ratio: Floats, epoch: int, step: int, steps: int, *, rule: str = "published") -> Floats:
    """Return the noise ratio that is in force at a step of training.

    Args:
        ratio: (C,), or a single ratio.
        epoch: from 1.
        step: in the epoch, from 0.
        steps: in an epoch.
        rule: "published": 0 in the first epoch and the whole ratio from the second. The program means to raise it
            linearly, but keeps the smallest value so far, which is the 0 of the first step. "ramp": from 0 to the
            whole ratio over the first epoch. "none": the whole ratio from the first step.

    Returns:
        The ratio, of the same shape.

    Raises:
        ValueError: the rule is unknown, or the step is not one of the epoch.

    Source:
        The published programs of JoMoLD and CMPAE.
    """
    if rule not in WARM_UPS:
        raise ValueError(f"rule is {rule!r}, not one of {', '.join(WARM_UPS)}")
    if epoch < 1 or not 0 <= step < steps:
        raise ValueError(f"step {step} of {steps} in epoch {epoch}: epochs count from 1, steps from 0")
    first = {"published": 0.0, "ramp": step / steps, "none": 1.0}[rule]
    return np.asarray(ratio) * (first if epoch == 1 else 1.0)


def drop_noisy_labels(  # noqa: PLR0917 - a public name, with the arguments of the published programs
    audio_probs: Floats,
    visual_probs: Floats,
    audio_targets: Floats,
    visual_targets: Floats,
    audio_ratio: Floats,
    visual_ratio: Floats,
) -> DenoisedTargets:
    """Remove the labels of a batch on which the two modalities disagree most.

    Of the n videos of the batch with a class, the label is removed from the picture of those that are both among the k
    lowest audio losses and among the k highest visual losses, k being the ratio of n, rounded down; from the sound the
    other way round. The number depends on the batch, and so on its size.

    Args:
        audio_probs: (B, C) audio probabilities of the parser in training mode, without cross-attention.
        visual_probs: (B, C) visual probabilities.
        audio_targets: (B, C) targets before removal, 0 to 1; a label is a target above 0.5.
        visual_targets: the same for the picture, usually smoothed.
        audio_ratio: (C,) share of the labels to remove from the sound at most, see `noise_ratios`.
        visual_ratio: (C,) share to remove from the picture at most.

    Returns:
        The targets, copies with 0 where a label was removed.

    Raises:
        ValueError: the shapes differ.

    Source:
        JoMoLD (Cheng et al., ECCV 2022), stage 3 of the published program; CMPAE's does the same.
    """
    tables = [np.asarray(table) for table in (audio_probs, visual_probs, audio_targets, visual_targets)]
    if len({table.shape for table in tables}) > 1 or tables[0].ndim != 2:
        raise ValueError(f"expected four arrays of the same shape (B, C), got {[table.shape for table in tables]}")
    audio_losses, visual_losses = (
        _losses(probs, targets) for probs, targets in zip(tables[:2], tables[2:], strict=True)
    )

    def without(targets: Floats, agreeing: Floats, doubting: Floats, ratio: Floats) -> Floats:
        positive = targets > 0.5
        count = np.asarray(np.asarray(ratio) * positive.sum(axis=0), np.int64)
        noise = (_ranks(agreeing, positive) < count) & (_ranks(-doubting, positive) < count)
        return np.where(noise & positive, np.zeros((), targets.dtype), targets)

    return DenoisedTargets(
        without(tables[2], visual_losses, audio_losses, audio_ratio),
        without(tables[3], audio_losses, visual_losses, visual_ratio),
    )


def _losses(probs: Floats, targets: Floats) -> Floats:
    """Return the binary cross-entropy of each element."""
    probs = probs.clip(_PROB_MARGIN, 1 - _PROB_MARGIN)
    return -(targets * np.log(probs) + (1 - targets) * np.log1p(-probs))


def _ranks(values: Floats, among: Bools) -> NDArray[np.int64]:
    """Return the rank of each value in its column, from 0 for the lowest of those in question; others come last."""
    order = np.argsort(np.where(among, values, np.inf), axis=0, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(order))[:, None], axis=0)
    return ranks
