"""Removal of wrong labels in each batch, as JoMoLD and CMPAE train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....models.denoising import NoiseRatios, drop_noisy_labels, warmed_ratio
from ....models.han import without_cross_attention
from ....models.losses import Objective, Targets, labelled_rows, smooth
from ....models.parser import AVParser
from ...datasets.clips import Batch
from .hooks import StepContext


def drop_labels(ratios: NoiseRatios, warmup: str, objective: Objective) -> Callable[[Any, Batch, StepContext], Targets]:
    """Make the function that removes wrong labels from a batch before its losses are computed.

    A first pass of the parser, in training mode, without gradient and without cross-attention, gives the probabilities
    that `drop_noisy_labels` compares with the labels.

    Args:
        ratios: (C,) each, share of the labels of a class that are wrong.
        warmup: see `warmed_ratio`.
        objective: whose smoothing the targets have when losses are compared.

    Returns:
        A function of a parser with the encoder han, a batch and its context; it returns the targets of the batch with
        the labels of its modalities.

    Source:
        The published programs of JoMoLD and CMPAE.
    """

    def relabel(parser: Any, batch: Batch, context: StepContext) -> Targets:
        targets = batch.targets
        assert isinstance(parser, AVParser)
        assert isinstance(targets, Targets)
        audio = targets.video if targets.audio is None else targets.audio
        visual = targets.video if targets.visual is None else targets.visual
        smoothing = objective.at(context.epoch)
        audio_ratio, visual_ratio = (
            warmed_ratio(ratio, context.epoch + 1, context.step, context.steps, rule=warmup) for ratio in ratios
        )
        with torch.no_grad(), without_cross_attention(parser.encoder):
            output = labelled_rows(parser(*batch.features, lengths=batch.lengths), targets)
        dropped = drop_noisy_labels(
            _to_numpy(output.audio_video_probs),
            _to_numpy(output.visual_video_probs),
            _to_numpy(smooth(audio, smoothing.audio_smoothing)),
            _to_numpy(smooth(visual, smoothing.visual_smoothing)),
            audio_ratio,
            visual_ratio,
        )
        kept = (torch.from_numpy(table > 0.5).to(targets.video) for table in dropped)
        return targets._replace(**dict(zip(("audio", "visual"), kept, strict=True)))

    return relabel


def _to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()
