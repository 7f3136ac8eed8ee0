"""Training objectives as pure functions of a parser's output and its targets.

Shapes: B batch, T segments, C classes, D width. Targets are float tensors of 0 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .leap import hard_union, soft_union
from .parser import ParserOutput

UNIONS = {"published": hard_union, "soft": soft_union}
_FLOOR = 1e-7  # probabilities are kept this far from 0 and 1, as every published program does
_EVENT_FLOOR = 1e-8  # events of a video without any, for the published similarity target


class Targets(NamedTuple):
    """What a batch should be parsed as. The segment labels are None where only videos are labelled."""

    video: Tensor  # (B, C)
    audio_segments: Tensor | None = None  # (B, T, C)
    visual_segments: Tensor | None = None  # (B, T, C)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Which losses are summed, with which weights. The defaults are those of the published LEAP program.

    Raises ValueError for an unknown choice or a negative weight.
    """

    targets: str = "pseudo"  # of the modalities: "pseudo" (segment labels), "weak" (the video's labels for both)
    video_targets: str = "pseudo"  # of the video: any second of either modality; or "weak": the video's labels
    union: str = "published"  # LEAP's video prediction: "published" (thresholded, no gradient) or "soft"
    similarity: str = "published"  # target of audio-visual similarity: "published" or "eiou" (paper, Eq. 10)
    similarity_offset: float = 0.01  # added to the published target
    segment_loss: str = "probs"  # segments by clamped probabilities, or "logits" (VALOR)
    audio_smoothing: float = 0.0  # y -> (1 - s) y + s / 2, on the audio video targets
    visual_smoothing: float = 0.0  # the same on the visual ones
    audio_weight: float = 1.0
    visual_weight: float = 1.0
    video_weight: float = 1.0
    visual_segment_weight: float = 1.0
    audio_segment_weight: float = 1.0
    similarity_weight: float = 1.0  # lambda

    def __post_init__(self) -> None:
        choices = {
            "targets": ("pseudo", "weak"), "video_targets": ("pseudo", "weak"), "union": tuple(UNIONS),
            "similarity": tuple(SIMILARITIES), "segment_loss": ("probs", "logits"),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be a number that is not negative")
        if not any(value for name, value in vars(self).items() if name.endswith("_weight")):
            raise ValueError("every weight is 0: there is nothing to learn")
        if max(self.audio_smoothing, self.visual_smoothing) > 1:
            raise ValueError("label smoothing must be at most 1")
        if self.needs_segment_labels and self.targets == "weak":
            raise ValueError("targets = 'weak' has no segment labels: set the segment and similarity weights to 0")

    @property
    def needs_segment_labels(self) -> bool:
        """Whether training needs pseudo labels."""
        weights = (self.audio_segment_weight, self.visual_segment_weight, self.similarity_weight)
        return self.targets == "pseudo" or self.video_targets == "pseudo" or any(weights)


def objective_terms(output: ParserOutput, targets: Targets, objective: Objective) -> dict[str, Tensor]:
    """The weighted loss terms by name, all scalars; those with weight 0 are left out. Their sum is the loss."""
    video, audio_video, visual_video = _video_targets(targets, objective)
    heard, seen = targets.audio_segments, targets.visual_segments

    def segments(logits: Tensor, probs: Tensor, wanted: Tensor | None) -> Tensor:
        assert wanted is not None
        if objective.segment_loss == "logits":
            return segment_bce_with_logits(logits, wanted, output.valid)
        return segment_bce(probs, wanted, output.valid)

    terms = {
        "audio": lambda: bce(output.audio_video_probs, audio_video),
        "visual": lambda: bce(output.visual_video_probs, visual_video),
        "video": lambda: bce(_video_probs(output, objective), video),
        "visual_segment": lambda: segments(output.visual_segment_logits, output.visual_segment_probs, seen),
        "audio_segment": lambda: segments(output.audio_segment_logits, output.audio_segment_probs, heard),
        "similarity": lambda: _similarity_loss(output, targets, objective),
    }
    weights = {name: getattr(objective, f"{name}_weight") for name in terms}
    return {name: weights[name] * term() for name, term in terms.items() if weights[name]}


def bce(probs: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of probabilities, clamped as published; targets of the same shape."""
    return _cross_entropies(probs, targets).mean()


def segment_bce(probs: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over the real segments: probs, targets (B, T, C), valid (B, T) bool."""
    return _mean_over_segments(_cross_entropies(probs, targets), valid)


def segment_bce_with_logits(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """The same from logits, unclamped: logits, targets (B, T, C), valid (B, T) bool."""
    exact = _exact(logits)
    losses = F.binary_cross_entropy_with_logits(logits.to(exact), targets.to(exact), reduction="none")
    return _mean_over_segments(losses, valid)


def smooth(targets: Tensor, amount: float) -> Tensor:
    """Label smoothing: ``(1 - s) y + s / 2``."""
    return targets if not amount else (1 - amount) * targets + amount / 2


def eiou(audio: Tensor, visual: Tensor) -> Tensor:
    """Event intersection over union of every pair of segments (LEAP paper, Eq. 10).

    audio, visual (B, T, C) 0/1 -> (B, T, T): audio segment i against visual segment j. Two empty segments get 0:
    they share no event, and there is no reason why silence and an empty picture should look alike; the published
    program's target treats them so, too.
    """
    audio, visual = audio.float(), visual.float()
    shared = audio @ visual.transpose(1, 2)
    either = audio.sum(-1)[:, :, None] + visual.sum(-1)[:, None, :] - shared
    return shared / either.clamp(min=1)


def published_similarity_target(audio: Tensor, visual: Tensor, offset: float = 0.01) -> Tensor:
    """What the published program wants of every pair of segments: x / (1 + x) + offset.

    x is the number of shared events over the largest number of events that a segment of the video has in either
    modality. audio, visual (B, T, C) 0/1 -> (B, T, T).
    """
    audio, visual = audio.float(), visual.float()
    most = torch.maximum(audio.sum(-1).amax(-1), visual.sum(-1).amax(-1)).clamp(min=_EVENT_FLOOR)
    share = audio @ visual.transpose(1, 2) / most[:, None, None]
    return share / (1 + share) + offset


def cosine_similarities(audio: Tensor, visual: Tensor) -> Tensor:
    """ReLU of the cosine between every audio and visual segment: two (B, T, D) -> (B, T, T)."""
    exact = _exact(audio)
    audio, visual = F.normalize(audio.to(exact), dim=-1), F.normalize(visual.to(exact), dim=-1)
    return F.relu(audio @ visual.transpose(1, 2))


SIMILARITIES = {
    "published": lambda heard, seen, objective: published_similarity_target(heard, seen, objective.similarity_offset),
    "eiou": lambda heard, seen, _: eiou(heard, seen),
}


def _similarity_loss(output: ParserOutput, targets: Targets, objective: Objective) -> Tensor:
    """Mean squared difference of the similarities and their target over real pairs (LEAP paper, Eq. 11)."""
    assert targets.audio_segments is not None
    assert targets.visual_segments is not None
    wanted = SIMILARITIES[objective.similarity](targets.audio_segments, targets.visual_segments, objective)
    found = cosine_similarities(output.audio_hidden, output.visual_hidden)
    pairs = output.valid[:, :, None] & output.valid[:, None, :]
    return ((found - wanted.to(found.dtype)).square() * pairs).sum() / pairs.sum()


def _video_targets(targets: Targets, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """Of the video and of either modality, (B, C) each: smoothed, and any-over-time where labelled by segment."""
    audio = visual = video = targets.video
    if targets.audio_segments is not None and targets.visual_segments is not None:
        heard, seen = targets.audio_segments.amax(dim=1), targets.visual_segments.amax(dim=1)
        if objective.targets == "pseudo":
            audio, visual = heard, seen
        if objective.video_targets == "pseudo":
            video = torch.maximum(heard, seen)
    return video, smooth(audio, objective.audio_smoothing), smooth(visual, objective.visual_smoothing)


def _video_probs(output: ParserOutput, objective: Objective) -> Tensor:
    """LEAP's union, by the objective's rule; a decoder that pools the video by itself (MMIL) is taken at its word."""
    if output.audio_video_logits is None:
        return output.video_probs
    return UNIONS[objective.union](output.audio_video_probs, output.visual_video_probs)


def _mean_over_segments(losses: Tensor, valid: Tensor) -> Tensor:
    return (losses * valid[:, :, None]).sum() / (valid.sum() * losses.shape[-1])


def _cross_entropies(probs: Tensor, targets: Tensor) -> Tensor:
    """Element by element. NaN comes out as NaN, where torch's own function breaks off (and a GPU with it)."""
    probs = probs.to(_exact(probs)).clamp(_FLOOR, 1 - _FLOOR)
    return -(targets * probs.log() + (1 - targets) * torch.log1p(-probs))


def _exact(tensor: Tensor) -> torch.dtype:
    """Losses are computed in at least float32, whatever precision the parser ran in."""
    return torch.promote_types(tensor.dtype, torch.float32)
