"""The published training step: files read clip by clip, BCELoss on probabilities, Adam with its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from avvp.models.parser import AVParser
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .parser import decode_plainly, encode_plainly, make_plain

FEATURE_FOLDERS = ("vggish", "res152", "r2plus1d_18")
LABEL_FOLDERS = ("audio_labels", "visual_labels")
EMBEDDINGS_FILE = "embeddings.pt"
_TEMPLATE_PARAMETERS = 4_749_312  # of modules that the published program copies from and never runs
_MARGIN = 1e-7  # probabilities are clamped this far from 0 and 1


class _Batch(NamedTuple):
    audio: Tensor  # (B, T, A)
    visual_2d: Tensor  # (B, 8T, V)
    visual_3d: Tensor  # (B, T, S)
    audio_labels: Tensor  # (B, T, C)
    visual_labels: Tensor  # (B, T, C)
    label_embeddings: Tensor  # (B, C, W)


class PlainProgram:
    """Module and optimizer of the published program.

    Args:
        parser: MM-Pyr + LEAP, whose parameters it takes over.
        root: folder of the features, labels and label embeddings.
        ids: of the clips.
        device: to train on.
    """

    def __init__(self, parser: AVParser, root: Path, ids: Sequence[str], device: torch.device) -> None:
        self._parser, self._root, self._ids, self._device = make_plain(parser).to(device), root, ids, device
        templates = nn.Parameter(torch.zeros(_TEMPLATE_PARAMETERS, device=device))
        self._optimizer = torch.optim.Adam([*self._parser.parameters(), templates], lr=1e-4)

    def step(self, indices: NDArray[np.int64]) -> Tensor:
        """Update the parameters by the clips of these indices; return the six losses before the update."""
        batch = self._load(indices)
        self._optimizer.zero_grad()
        losses = compute_losses(self._parser, batch)
        losses.sum().backward()
        self._optimizer.step()
        return losses.detach()

    def _load(self, indices: NDArray[np.int64]) -> _Batch:
        """Read features, pseudo labels and label embeddings from files, clip by clip."""
        samples = []
        for index in indices:
            name = f"{self._ids[index]}.npy"
            arrays = [np.load(self._root / folder / name) for folder in (*FEATURE_FOLDERS, *LABEL_FOLDERS)]
            vectors = torch.load(self._root / EMBEDDINGS_FILE, weights_only=True).values()
            arrays.append(np.stack([vector.numpy() for vector in vectors]))
            samples.append([torch.from_numpy(array) for array in arrays])
        return _Batch(*(torch.stack(column).to(self._device) for column in zip(*samples, strict=True)))


def compute_losses(parser: AVParser, batch: _Batch) -> Tensor:
    """Return the six losses: audio, visual and both of the video, visual and audio segments, similarity."""
    audio, visual = encode_plainly(parser, batch.audio, batch.visual_2d, batch.visual_3d)
    audio_segments, visual_segments, audio_video, visual_video = decode_plainly(
        parser, batch.label_embeddings, audio, visual
    )
    union = ((audio_video >= 0.5) | (visual_video >= 0.5)).float()
    audio_classes, visual_classes = batch.audio_labels.amax(1), batch.visual_labels.amax(1)
    pairs = [
        (audio_video, audio_classes),
        (visual_video, visual_classes),
        (union, torch.maximum(audio_classes, visual_classes)),
        (visual_segments, batch.visual_labels),
        (audio_segments, batch.audio_labels),
    ]
    criterion = nn.BCELoss()
    losses = [criterion(probs.clamp(_MARGIN, 1 - _MARGIN), target) for probs, target in pairs]
    return torch.stack([*losses, _similarity_loss(audio, visual, batch.audio_labels, batch.visual_labels)])


def _similarity_loss(audio: Tensor, visual: Tensor, audio_labels: Tensor, visual_labels: Tensor) -> Tensor:
    audio_counts, visual_counts = audio_labels.sum(-1).amax(-1), visual_labels.sum(-1).amax(-1)
    most = torch.zeros_like(audio_counts)
    for clip in range(len(most)):  # a Python loop over the batch, as published
        most[clip] = audio_counts[clip] if audio_counts[clip] >= visual_counts[clip] else visual_counts[clip]
        if most[clip] == 0:
            most[clip] += 1e-8
    share = torch.bmm(audio_labels, visual_labels.permute(0, 2, 1)) / most[:, None, None]
    target = torch.sigmoid(torch.log(share)) + 0.01
    similarity = torch.bmm(F.normalize(audio, dim=-1), F.normalize(visual, dim=-1).permute(0, 2, 1))
    return nn.MSELoss()(F.relu(similarity), target)
