"""Training losses: pure functions of a parser's output and its targets.

Shapes: B batch, T segments, C classes, D width. Targets are float tensors of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..weights.parts import check_part
from .leap import hard_union, soft_union
from .parser import ParserOutput

UNIONS = {"published": hard_union, "soft": soft_union}
OWN_LOSSES = ("published",)  # `objective_terms`
MAX_LOSS_WEIGHT = 1e6  # of a term of the loss
_PROB_MARGIN = 1e-7  # probabilities are clamped this far from 0 and 1, as in every published program
_MIN_EVENTS = 1e-8  # avoids 0 / 0 in the published similarity target of a video without events


class Targets(NamedTuple):
    """Labels of a batch, 0 or 1. Segment labels are None when only videos are labelled."""

    video: Tensor  # (B, C)
    audio_segments: Tensor | None = None  # (B, T, C)
    visual_segments: Tensor | None = None  # (B, T, C)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Choice and weights of the loss terms. The defaults are those of the published LEAP program.

    Raises:
        ValueError: a choice is unknown, a weight is negative or not finite, every weight is 0, or two values
            contradict each other.
    """

    targets: str = "pseudo"  # of each modality: its segment labels; or "weak": the labels of the video for both
    video_targets: str = "pseudo"  # of the video: any segment label of either modality; or "weak": its own labels
    union: str = "published"  # of LEAP's video probabilities: "published" (thresholded, no gradient) or "soft"
    similarity: str = "published"  # target of the similarity loss: "published" or "eiou" (paper, Eq. 10)
    similarity_offset: float = 0.01  # added to the published similarity target
    segment_loss: str = "probs"  # computed from clamped probabilities ("probs") or from "logits" (VALOR)
    audio_smoothing: float = 0.0  # s in y -> (1 - s) y + s / 2, on the audio targets of the video
    visual_smoothing: float = 0.0  # the same on the visual targets of the video
    audio_weight: float = 1.0
    visual_weight: float = 1.0
    video_weight: float = 1.0
    visual_segment_weight: float = 1.0
    audio_segment_weight: float = 1.0
    similarity_weight: float = 1.0  # lambda (paper, Table 6)
    loss: str = "published"  # `objective_terms`; or a part of another package, see `loss_parts.load_loss`
    loss_options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # settings of that part

    def __post_init__(self) -> None:
        choices = {
            "targets": ("pseudo", "weak"), "video_targets": ("pseudo", "weak"), "union": tuple(UNIONS),
            "similarity": tuple(SIMILARITIES), "segment_loss": ("probs", "logits"),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 <= value <= MAX_LOSS_WEIGHT:
                raise ValueError(f"{name} is {value}; it must be finite and not negative, at most {MAX_LOSS_WEIGHT:g}")
        if not any(value for name, value in vars(self).items() if name.endswith("_weight")):
            raise ValueError("every weight is 0: at least one loss term needs a positive weight")
        if max(self.audio_smoothing, self.visual_smoothing) > 1:
            raise ValueError("label smoothing must be at most 1")
        check_part("loss", self.loss, self.loss_options, OWN_LOSSES)
        if self.loss in OWN_LOSSES and self.needs_segment_labels and self.targets == "weak":
            raise ValueError("targets = 'weak' has no segment labels: set the segment and similarity weights to 0")

    @property
    def needs_segment_labels(self) -> bool:
        """Whether training needs segment labels (pseudo labels); for a loss of another package the targets decide."""
        weights = (self.audio_segment_weight, self.visual_segment_weight, self.similarity_weight)
        terms = self.loss in OWN_LOSSES and any(weights)
        return self.targets == "pseudo" or self.video_targets == "pseudo" or terms

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping of the fields; without `loss` where it is the published one."""
        values = asdict(self)
        return {
            name: value for name, value in values.items() if self.loss not in OWN_LOSSES or not name.startswith("loss")
        }


def objective_terms(output: ParserOutput, targets: Targets, objective: Objective) -> dict[str, Tensor]:
    """Compute the weighted loss terms; their sum is the loss.

    Args:
        output: of the parser.
        targets: labels of the same batch.
        objective: choice and weights of the terms.

    Returns:
        Term name ("audio", "visual", "video", "audio_segment", "visual_segment", "similarity") -> scalar. Terms with
        weight 0 are absent and not computed.

    Source:
        github.com/jasongief/LEAP for the default objective; LEAP paper, Eq. 10 and 11, for the similarity.
    """
    video, audio_video, visual_video = _video_targets(targets, objective)
    audio_segments, visual_segments = targets.audio_segments, targets.visual_segments

    def segment_term(logits: Tensor, probs: Tensor, segment_targets: Tensor | None) -> Tensor:
        assert segment_targets is not None
        if objective.segment_loss == "logits":
            return segment_bce_with_logits(logits, segment_targets, output.valid)
        return segment_bce(probs, segment_targets, output.valid)

    terms = {
        "audio": lambda: bce(output.audio_video_probs, audio_video),
        "visual": lambda: bce(output.visual_video_probs, visual_video),
        "video": lambda: bce(_video_probs(output, objective), video),
        "visual_segment": lambda: segment_term(
            output.visual_segment_logits, output.visual_segment_probs, visual_segments
        ),
        "audio_segment": lambda: segment_term(output.audio_segment_logits, output.audio_segment_probs, audio_segments),
        "similarity": lambda: _similarity_loss(output, targets, objective),
    }
    weights = {name: getattr(objective, f"{name}_weight") for name in terms}
    return {name: weights[name] * term() for name, term in terms.items() if weights[name]}


def bce(probs: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean binary cross-entropy of probabilities, clamped as in the published programs.

    Args:
        probs: probabilities, any shape.
        targets: 0 to 1, same shape.

    Returns:
        Scalar, at least float32.
    """
    return _elementwise_bce(probs, targets).mean()


def segment_bce(probs: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean binary cross-entropy of clamped probabilities over the real segments.

    Args:
        probs: (B, T, C).
        targets: (B, T, C), 0 or 1.
        valid: (B, T) bool, True on real segments.

    Returns:
        Scalar, at least float32.
    """
    return mean_over_segments(_elementwise_bce(probs, targets), valid)


def segment_bce_with_logits(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean binary cross-entropy of logits over the real segments, without clamping.

    Args:
        logits: (B, T, C).
        targets: (B, T, C), 0 or 1.
        valid: (B, T) bool, True on real segments.

    Returns:
        Scalar, at least float32.

    Source:
        github.com/Franklin905/VALOR.
    """
    dtype = loss_dtype(logits)
    losses = F.binary_cross_entropy_with_logits(logits.to(dtype), targets.to(dtype), reduction="none")
    return mean_over_segments(losses, valid)


def smooth(targets: Tensor, amount: float) -> Tensor:
    """Smooth labels: ``(1 - s) y + s / 2``.

    Args:
        targets: y, 0 or 1, any shape.
        amount: s, 0 to 1.

    Returns:
        Smoothed labels of the same shape.

    Source:
        github.com/YapengTian/AVVP-ECCV20, which smooths the visual targets with s = 0.1.
    """
    return targets if not amount else (1 - amount) * targets + amount / 2


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


def _similarity_loss(output: ParserOutput, targets: Targets, objective: Objective) -> Tensor:
    """Compute the similarity loss with the target that the objective names."""
    assert targets.audio_segments is not None
    assert targets.visual_segments is not None
    expected = SIMILARITIES[objective.similarity](targets.audio_segments, targets.visual_segments, objective)
    return similarity_loss(output.audio_hidden, output.visual_hidden, expected, output.valid)


def _video_targets(targets: Targets, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """Return the video-level targets of the video, audio and visual, (B, C) each.

    Pseudo targets are the maximum of the segment labels over time. The targets of the modalities are smoothed.
    """
    audio = visual = video = targets.video
    if targets.audio_segments is not None and targets.visual_segments is not None:
        any_audio, any_visual = targets.audio_segments.amax(dim=1), targets.visual_segments.amax(dim=1)
        if objective.targets == "pseudo":
            audio, visual = any_audio, any_visual
        if objective.video_targets == "pseudo":
            video = torch.maximum(any_audio, any_visual)
    return video, smooth(audio, objective.audio_smoothing), smooth(visual, objective.visual_smoothing)


def _video_probs(output: ParserOutput, objective: Objective) -> Tensor:
    """Return video probabilities: the objective's union for LEAP, the decoder's own for one that pools (MMIL)."""
    if output.audio_video_logits is None:
        return output.video_probs
    return UNIONS[objective.union](output.audio_video_probs, output.visual_video_probs)


def mean_over_segments(losses: Tensor, valid: Tensor) -> Tensor:
    """Compute the mean of losses (B, T, C) over the real segments, where valid (B, T) is True."""
    return (losses * valid[:, :, None]).sum() / (valid.sum() * losses.shape[-1])


def _elementwise_bce(probs: Tensor, targets: Tensor) -> Tensor:
    """Compute the binary cross-entropy of each element.

    NaN gives NaN; torch's own function raises an error instead, which on a GPU aborts the process's CUDA context.
    """
    probs = probs.to(loss_dtype(probs)).clamp(_PROB_MARGIN, 1 - _PROB_MARGIN)
    return -(targets * probs.log() + (1 - targets) * torch.log1p(-probs))


def loss_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of the losses: at least float32, whatever precision the parser ran in."""
    return torch.promote_types(tensor.dtype, torch.float32)
