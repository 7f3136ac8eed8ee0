"""What a network learns: the labels of a batch, and the loss terms that an objective names.

Shapes: B batch, T segments, C classes, D width. Targets are float tensors of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..weights.parts import check_part
from .leap import hard_union, soft_union
from .loss_terms.binary import bce, segment_bce, segment_bce_with_logits, smooth
from .loss_terms.similarity import (
    SIMILARITIES,
    cosine_similarities,
    eiou,
    published_similarity_target,
    similarity_loss,
)
from .parser import ParserOutput

__all__ = [
    "MAX_LOSS_WEIGHT",
    "OWN_LOSSES",
    "SIMILARITIES",
    "UNIONS",
    "Objective",
    "Targets",
    "bce",
    "cosine_similarities",
    "eiou",
    "objective_terms",
    "published_similarity_target",
    "segment_bce",
    "segment_bce_with_logits",
    "similarity_loss",
    "smooth",
]

UNIONS = {"published": hard_union, "soft": soft_union}
OWN_LOSSES = ("published",)  # `objective_terms`
MAX_LOSS_WEIGHT = 1e6  # of a term of the loss
_ADDED_FIELDS = {
    "alignment", "alignment_weight", "mutual_weight", "across_weight", "token_weight", "segment_targets",
    "soft_temperature", "class_balance", "mixup_alpha", "mixup_weight",
}  # fmt: skip


class Targets(NamedTuple):
    """Labels of a batch, 0 or 1. Segment labels are None when only videos are labelled."""

    video: Tensor  # (B, C)
    audio_segments: Tensor | None = None  # (B, T, C)
    visual_segments: Tensor | None = None  # (B, T, C)
    # Labels of each modality for the video, before smoothing; None: those of its segments, or of the video.
    audio: Tensor | None = None  # (B, C)
    visual: Tensor | None = None  # (B, C)
    audio_soft: Tensor | None = None  # (B, T, C) probabilities that a teacher gives to the segment labels
    visual_soft: Tensor | None = None  # (B, T, C)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Choice and weights of the loss terms. The defaults are those of the published LEAP program.

    Raises:
        ValueError: a choice is unknown, a weight is negative or not finite, every weight is 0, or two values
            contradict each other.
    """

    targets: str = "pseudo"  # of each modality: its segment labels; or "weak": the labels of the video for both
    # Of the video: "pseudo", any segment label of either modality; "weak", its own labels; "audio", those of the audio
    # (MA's published program); "modalities", those of either modality for the video.
    video_targets: str = "pseudo"
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
    alignment: str = "none"  # of the seconds of sound and picture: "ma" or "jomold", see `alignment_loss`
    alignment_weight: float = 0.0
    mutual_weight: float = 0.0  # of CMPAE's mutual learning
    across_weight: float = 0.0  # of CVCMS's contrast across videos
    token_weight: float = 0.0  # of the classification of MGN's tokens, each modality
    segment_targets: str = "hard"  # labels of the segments; or "soft": the probabilities of a teacher (UWAV)
    soft_temperature: float = 2.0  # by which a teacher's logits are divided, less their thresholds (UWAV)
    class_balance: float = 0.0  # weight of seconds of videos that have a class, by its rarity (UWAV); 0: every second 1
    mixup_alpha: float = 0.0  # of the Beta distribution that encoded segments are mixed by (UWAV); 0: none
    mixup_weight: float = 1.0
    loss: str = "published"  # `objective_terms`; or a part of another package, see `loss_parts.load_loss`
    loss_options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # settings of that part

    def __post_init__(self) -> None:
        choices = {
            "targets": ("pseudo", "weak"), "video_targets": ("pseudo", "weak", "audio", "modalities"),
            "union": tuple(UNIONS), "similarity": tuple(SIMILARITIES), "segment_loss": ("probs", "logits"),
            "alignment": ("none", "ma", "jomold"), "segment_targets": ("hard", "soft"),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 <= value <= MAX_LOSS_WEIGHT:
                raise ValueError(f"{name} is {value}; it must be finite and not negative, at most {MAX_LOSS_WEIGHT:g}")
        if not any(value for name, value in vars(self).items() if name.endswith("_weight") and name != "mixup_weight"):
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
        """Return a JSON-ready mapping of the fields; without those that older versions lack where they are unused."""
        added = {entry.name: entry.default for entry in fields(self) if entry.name in _ADDED_FIELDS}
        return {
            name: value
            for name, value in asdict(self).items()
            if (self.loss not in OWN_LOSSES or not name.startswith("loss"))
            and not (name in added and value == added[name])
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
    audio, visual = targets.video, targets.video
    video = targets.video
    if targets.audio_segments is not None and targets.visual_segments is not None:
        any_audio, any_visual = targets.audio_segments.amax(dim=1), targets.visual_segments.amax(dim=1)
        if objective.targets == "pseudo":
            audio, visual = any_audio, any_visual
        if objective.video_targets == "pseudo":
            video = torch.maximum(any_audio, any_visual)
    audio = audio if targets.audio is None else targets.audio
    visual = visual if targets.visual is None else targets.visual
    if objective.video_targets == "audio":
        video = audio
    elif objective.video_targets == "modalities":
        video = torch.maximum(audio, visual)
    return video, smooth(audio, objective.audio_smoothing), smooth(visual, objective.visual_smoothing)


def _video_probs(output: ParserOutput, objective: Objective) -> Tensor:
    """Return video probabilities: the objective's union for LEAP, the decoder's own for one that pools (MMIL)."""
    if output.audio_video_logits is None:
        return output.video_probs
    return UNIONS[objective.union](output.audio_video_probs, output.visual_video_probs)
