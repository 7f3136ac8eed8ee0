"""Outputs of a parser as tables of probabilities."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.config import ParserConfig
from ...models.decoder_output import ParserOutput
from ..errors import SetupError
from ..timeline import SegmentProbabilities


def has_pooled(output: ParserOutput, config: ParserConfig) -> bool:
    """Return whether the tables have the probability that a decoder pools for the whole video.

    MMIL pools the video separately; LEAP takes the union of the modalities, which needs no table of its own, unless the
    configuration asks for that of the video.

    Args:
        output: of the parser.
        config: of the parser.
    """
    return output.audio_video_logits is None or config.video_filter == "pooled"


def stack_output(output: ParserOutput, config: ParserConfig) -> NDArray[np.float32]:
    """Return (B, P, T, C): audio, visual, and the video-level probabilities repeated for every second.

    Args:
        output: of the parser.
        config: of the parser.

    Returns:
        Probabilities in the order of `SegmentProbabilities`: P is 5 with `has_pooled`, else 4.

    Raises:
        SetupError: they are not finite.
    """
    segments = output.audio_segment_probs.shape[1]
    videos = [output.audio_video_probs, output.visual_video_probs]
    if has_pooled(output, config):
        videos.append(output.video_probs)
    parts = [output.audio_segment_probs, output.visual_segment_probs]
    parts += [video[:, None].expand(-1, segments, -1) for video in videos]
    # MMIL pools by sums of weighted probabilities, which rounding can take beyond 1; those of MGN's segments are.
    return to_finite_array(torch.stack(parts, dim=1)).clip(0, 1)


def parser_probabilities(output: ParserOutput, config: ParserConfig) -> SegmentProbabilities:
    """Return the probabilities of B videos, (B, T, C) each. Raises SetupError if they are not finite."""
    return SegmentProbabilities(*stack_output(output, config).transpose(1, 0, 2, 3))


def to_finite_array(outputs: Tensor) -> NDArray[np.float32]:
    """Copy a parser's outputs, of any shape, to the CPU. Raises SetupError for NaN and infinity."""
    return check_finite(outputs.detach().float().cpu().numpy())


def check_finite(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a parser's outputs, of any shape. Raises SetupError for NaN and infinity."""
    if not np.isfinite(array).all():
        raise SetupError("the parser's outputs are NaN or infinite: its parameters are damaged or have diverged")
    return array
