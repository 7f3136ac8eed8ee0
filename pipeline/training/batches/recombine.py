"""Recombine the clips of a batch: the sound of one with the picture of another."""

from __future__ import annotations

import torch
from torch import Tensor

from ....models.losses import Targets
from ...datasets.clips import Batch

_PICTURE = ("visual_2d", "visual_3d")


def recombine(batch: Batch, share: float, generator: torch.Generator, *, weak: bool) -> Batch:
    """Give some clips of a batch the picture of another one of the same length.

    The labels follow their modality: a changed clip has the audio labels of its sound, the visual labels of its new
    picture, and as a video the union of both. A clip without another one of its length stays as it is.

    Args:
        batch: B clips.
        share: of the clips that are changed, on average, 0 to 1.
        generator: of the choice, on the CPU.
        weak: the targets of the modalities are the labels of the video, not those of its segments.

    Returns:
        A batch of the same size; its clips have their former names.

    Source:
        The idea: MUG (ICCV 2025), as far as it is described; CVCMS pairs sounds and pictures for its contrast.
    """
    targets = batch.targets
    assert isinstance(targets, Targets)
    count = len(targets.video)
    lengths = [0] * count if batch.lengths is None else batch.lengths.tolist()
    chosen = (torch.rand(count, generator=generator) < share).tolist()
    source = list(range(count))
    for clip in range(count):
        others = [other for other in range(count) if other != clip and lengths[other] == lengths[clip]]
        pick = torch.randint(max(len(others), 1), (), generator=generator)  # always drawn: one number a clip
        if chosen[clip] and others:
            source[clip] = others[int(pick)]
    index = torch.tensor(source, device=targets.video.device)
    return _with_pictures(batch, index)._replace(targets=_recombined_labels(targets, index, weak=weak))


def pair_across(batch: Batch, generator: torch.Generator) -> Batch:
    """Add to each clip its sound with the picture of a random other clip, for the contrast across videos.

    Args:
        batch: B clips.
        generator: of the choice, on the CPU.

    Returns:
        2 B rows of features, the B targets and names with `Targets.partners`; the batch itself if it has one clip.

    Source:
        github.com/GenjiB/CM-Co-Occurrence-AVVP.
    """
    targets = batch.targets
    assert isinstance(targets, Targets)
    count = len(targets.video)
    if count == 1:
        return batch
    steps = torch.randint(1, count, (count,), generator=generator)
    return join_partners(batch, ((torch.arange(count) + steps) % count).to(targets.video.device))


def join_partners(batch: Batch, partners: Tensor) -> Batch:
    """Add to each clip its sound with the picture of a given other clip; see `pair_across`.

    Args:
        batch: B clips.
        partners: (B,) indices of the clips whose pictures are used, on the device of the batch.

    Returns:
        As `pair_across`. A pair is as long as its shorter part.
    """
    assert isinstance(batch.targets, Targets)
    pairs = _with_pictures(batch, partners)
    lengths = batch.lengths
    if lengths is not None:
        lengths = torch.cat([lengths, torch.minimum(lengths, lengths[partners])])
    streams = {
        name: torch.cat([stream, getattr(pairs, name)])
        for name in ("audio", *_PICTURE)
        if (stream := getattr(batch, name)) is not None
    }
    return batch._replace(**streams, lengths=lengths, targets=batch.targets._replace(partners=partners))


def _with_pictures(batch: Batch, source: Tensor) -> Batch:
    """Return the batch with the pictures of these clips (B,)."""
    pictures = {name: stream[source] for name in _PICTURE if (stream := getattr(batch, name)) is not None}
    return batch._replace(**pictures)


def _recombined_labels(targets: Targets, source: Tensor, *, weak: bool) -> Targets:
    """Return the targets of clips with the pictures of these clips (B,)."""

    def labels(own: Tensor | None, segments: Tensor | None) -> Tensor:
        if own is not None:
            return own
        return targets.video if weak or segments is None else segments.amax(dim=1)

    audio = labels(targets.audio, targets.audio_segments)
    visual = labels(targets.visual, targets.visual_segments)[source]
    is_own = source == torch.arange(len(source), device=source.device)
    of_segments = not weak and targets.audio_segments is not None and targets.visual_segments is not None
    moved = {
        name: None if (table := getattr(targets, name)) is None else table[source]
        for name in ("visual_segments", "visual_soft")
    }
    return targets._replace(
        video=torch.where(is_own[:, None], targets.video, torch.maximum(audio, visual)),
        audio=targets.audio if of_segments else audio,
        visual=(None if targets.visual is None else visual) if of_segments else visual,
        **moved,
    )
