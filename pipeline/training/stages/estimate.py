"""Estimate noise ratios with a trained parser, and remove the labels that a modality does not support.

Both go through the training clips once, in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....models.denoising import NoiseRatios, RemovedLabels, modality_aware_removals, noise_ratios
from ....models.parser import AVParser
from ...datasets.clips import Batch, SplitDataset
from ...datasets.loader import iterate_batches, load_batches
from ..settings.stage import Stage

Progress = Callable[[int, int], None]
_BATCH_SIZE = 64  # clips; results do not depend on it, up to rounding
_ACCURATE_ABOVE = 0.5  # MA: a probability above it predicts the label
_BLOCK = 512  # clips whose partners are looked for together
_NOBODY = -1


class Exchanged(NamedTuple):
    """Probabilities of N clips with their own sound and picture, and with one of them of a partner, (N, C) each."""

    own: tuple[NDArray[np.float32], NDArray[np.float32]]  # audio, visual
    own_sound: tuple[NDArray[np.float32], NDArray[np.float32]]
    own_picture: tuple[NDArray[np.float32], NDArray[np.float32]]


def estimate_ratios(
    parser: AVParser, clips: SplitDataset, stage: Stage, *, seed: int, progress: Progress
) -> NoiseRatios:
    """Estimate the noise ratios of each class and modality.

    Args:
        parser: trained without cross-attention, on its device; it is set to evaluation mode.
        clips: of training.
        stage: of kind "estimate".
        seed: of the order of the clips, which forms the batches whose means are averaged.
        progress: called with the number of clips done and the total.

    Returns:
        The ratios.

    Raises:
        DatasetError: features cannot be read.
        ValueError: the probabilities are not finite.

    Source:
        JoMoLD, stage 2 of the published program, whose order of the clips has no seed.
    """
    settings, device = stage.settings, next(parser.parameters()).device
    order = np.random.default_rng(seed).permutation(len(clips))
    tables: tuple[list[Tensor], list[Tensor]] = ([], [])
    parser.eval()
    done = 0
    for host_batch in iterate_batches(clips, order, int(settings["batch_size"])):
        for table, probs in zip(tables, _video_probs(parser, host_batch.to(device)), strict=True):
            table.append(probs)
        done += len(host_batch.filenames)
        progress(done, len(clips))
    audio, visual = (torch.cat(table).numpy() for table in tables)
    return noise_ratios(
        audio,
        visual,
        clips.video_labels[order],
        batch_size=int(settings["batch_size"]),
        audio_below=settings["audio_below"],
        visual_below=settings["visual_below"],
    )


def remove_labels(
    parser: AVParser, clips: SplitDataset, stage: Stage, *, seed: int, progress: Progress
) -> tuple[RemovedLabels, int]:
    """Find the labels that a modality does not support, with each clip's other modality exchanged for a partner's.

    Args:
        parser: trained on the weak labels, on its device; it is set to evaluation mode.
        clips: of training.
        stage: of kind "relabel".
        seed: of the partners.
        progress: called with the number of clips done and the total.

    Returns:
        The labels to remove, and the number of clips that keep all labels because every other clip shares one of them.

    Raises:
        DatasetError: features cannot be read.

    Source:
        MA, stage 2 of the published program, whose partners are drawn without a seed.
    """
    labels, device = clips.video_labels, next(parser.parameters()).device
    partners = draw_partners(labels, seed)
    shape = labels.shape
    exchanged = Exchanged(*((np.zeros(shape, np.float32), np.zeros(shape, np.float32)) for _ in Exchanged._fields))
    parser.eval()
    order = np.arange(len(clips))
    chunks = [order[first : first + _BATCH_SIZE] for first in range(0, len(order), _BATCH_SIZE)]
    # A clip without a partner is its own; its results are not used.
    others = [np.where(partners[chunk] == _NOBODY, chunk, partners[chunk]) for chunk in chunks]
    own_batches, other_batches = load_batches(clips, chunks), load_batches(clips, others)
    for chunk, own, other in zip(chunks, own_batches, other_batches, strict=True):
        for table, probs in zip(exchanged, exchange(parser, own.to(device), other.to(device)), strict=True):
            for modality, values in zip(table, probs, strict=True):
                modality[chunk] = values
        progress(int(chunk[-1]) + 1, len(clips))
    removed = removals_of(exchanged, labels, stage.settings["below"])
    lonely = partners == _NOBODY
    for table in removed:
        table[lonely] = False
    return removed, int(lonely.sum())


def removals_of(exchanged: Exchanged, labels: NDArray[np.bool_], below: float) -> RemovedLabels:
    """Compute the labels to remove from the predictions of clips and of their exchanges.

    Args:
        exchanged: probabilities of N clips.
        labels: (N, C) of the videos.
        below: see `modality_aware_removals`.

    Returns:
        The labels to remove.
    """
    audio, visual = (((probs > _ACCURATE_ABOVE) == labels).mean(axis=0).astype(np.float32) for probs in exchanged.own)
    audio_of, visual_of = (
        {"own_sound": exchanged.own_sound[index], "own_picture": exchanged.own_picture[index]} for index in range(2)
    )
    return modality_aware_removals(audio_of, visual_of, labels, audio, visual, below=below)


def draw_partners(labels: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Draw another clip for each clip, among those that share no label with it.

    Args:
        labels: (N, C) of the videos.
        seed: of the draw.

    Returns:
        (N,) indices; -1 for a clip that shares a label with every other one.
    """
    rng = np.random.default_rng(seed)
    table = labels.astype(np.float32)
    partners = np.full(len(labels), _NOBODY, np.int64)
    for first in range(0, len(labels), _BLOCK):
        strangers = table[first : first + _BLOCK] @ table.T == 0
        for row, others in enumerate(strangers, first):
            others[row] = False  # a clip without labels
            candidates = np.flatnonzero(others)
            if len(candidates):
                partners[row] = rng.choice(candidates)
    return partners


def exchange(parser: AVParser, own: Batch, other: Batch) -> Exchanged:
    """Predict clips, and each of them with the picture, and with the sound, of a partner.

    Where partners have other lengths, the seconds that both have are combined.

    Args:
        parser: in evaluation mode.
        own: B clips.
        other: their partners, in the same order.

    Returns:
        Probabilities of the videos, in the order of the fields.
    """
    return Exchanged(
        _arrays(_video_probs(parser, own)),
        _arrays(_video_probs(parser, _combine(own, other))),
        _arrays(_video_probs(parser, _combine(other, own))),
    )


def _combine(sound: Batch, picture: Batch) -> Batch:
    """Return clips with the sound of one batch and the picture of another."""
    longest = min(sound.audio.shape[1], picture.audio.shape[1])
    seconds = [_lengths(batch) for batch in (sound, picture)]
    streams: dict[str, Any] = {"audio": sound.audio[:, :longest]}
    for name in ("visual_2d", "visual_3d"):
        rows = getattr(picture, name)
        if rows is not None:
            rate = rows.shape[1] // picture.audio.shape[1]  # frames of a second
            streams[name] = rows[:, : rate * longest]
    return sound._replace(**streams, lengths=torch.minimum(*seconds))


def _lengths(batch: Batch) -> Tensor:
    """Return the seconds of each clip, (B,)."""
    if batch.lengths is not None:
        return batch.lengths
    count, length, _ = batch.audio.shape
    return torch.full((count,), length, device=batch.audio.device)


def _video_probs(parser: AVParser, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return audio and visual probabilities of the videos, (B, C) on the CPU."""
    with torch.inference_mode():
        output = parser(*batch.features, lengths=batch.lengths)
    return output.audio_video_probs.float().cpu(), output.visual_video_probs.float().cpu()


def _arrays(probs: tuple[Tensor, Tensor]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return probs[0].numpy(), probs[1].numpy()
