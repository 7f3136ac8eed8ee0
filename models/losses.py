"""What a network learns: the labels of a batch, and the loss terms that an objective names.

Shapes: B batch, T segments, C classes, D width. Targets are float tensors of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..weights.parts import check_part
from .decoder_output import ParserOutput
from .leap import hard_union, soft_union
from .loss_terms.across import across_loss, pool_by_labels
from .loss_terms.alignment import ALIGNMENTS, alignment_loss
from .loss_terms.binary import bce, segment_bce, segment_bce_with_logits, smooth
from .loss_terms.guides import guidance_losses
from .loss_terms.mutual import mutual_learning_loss
from .loss_terms.similarity import (
    SIMILARITIES,
    cosine_similarities,
    eiou,
    published_similarity_target,
    similarity_loss,
)
from .loss_terms.soft_segments import segment_weights, soft_targets, uncertain_segment_loss
from .loss_terms.tokens import token_loss

__all__ = [
    "MAX_LOSS_WEIGHT",
    "OWN_LOSSES",
    "SIMILARITIES",
    "UNIONS",
    "Objective",
    "Targets",
    "across_loss",
    "alignment_loss",
    "bce",
    "cosine_similarities",
    "eiou",
    "guidance_losses",
    "labelled_rows",
    "mutual_learning_loss",
    "objective_terms",
    "pool_by_labels",
    "published_similarity_target",
    "segment_bce",
    "segment_bce_with_logits",
    "segment_targets",
    "segment_weights",
    "similarity_loss",
    "smooth",
    "soft_targets",
    "token_loss",
    "uncertain_segment_loss",
]

UNIONS = {"published": hard_union, "soft": soft_union}
OWN_LOSSES = ("published",)  # `objective_terms`
MAX_LOSS_WEIGHT = 1e6  # of a term of the loss
MAX_EPOCH = 10_000  # of a change of the objective
_ADDED_FIELDS = {
    "alignment", "alignment_weight", "mutual_weight", "across_weight", "token_weight", "segment_targets",
    "soft_temperature", "class_balance", "mixup_alpha", "mixup_weight", "smoothing_epochs", "across_after",
    "guide_weight", "visual_guide_smoothing", "smooth_removed",
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
    # Share of the training seconds in which each class is active, for `Objective.class_balance`.
    audio_frequency: Tensor | None = None  # (C,)
    visual_frequency: Tensor | None = None  # (C,)
    # The parser's output has B more rows, the sound of each clip with the picture of another one, which only the loss
    # across videos reads.
    partners: Tensor | None = None  # (B,) the clips that these pictures are of


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
    smooth_removed: bool = False  # whether labels that denoising removed are smoothed (CVCMS), or 0 (MA, JoMoLD)
    smoothing_epochs: int = 0  # first epochs of training, in which labels are smoothed (CVCMS: 2); 0: all
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
    across_after: int = 0  # epochs that are trained without that contrast (CVCMS: 2)
    token_weight: float = 0.0  # of the classification of MGN's tokens, each modality
    guide_weight: float = 0.0  # of the losses of DHHN's guides, and of what a network and they learn from each other
    visual_guide_smoothing: float = 0.0  # s on the visual targets of the guide, beside `visual_smoothing`
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
            "alignment": ("none", *ALIGNMENTS), "segment_targets": ("hard", "soft"),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        for name, value in vars(self).items():
            if isinstance(value, float) and not 0 <= value <= MAX_LOSS_WEIGHT:
                raise ValueError(f"{name} is {value}; it must be finite and not negative, at most {MAX_LOSS_WEIGHT:g}")
        if not any(value for name, value in vars(self).items() if name.endswith("_weight") and name != "mixup_weight"):
            raise ValueError("every weight is 0: at least one loss term needs a positive weight")
        if max(self.audio_smoothing, self.visual_smoothing, self.visual_guide_smoothing) > 1:
            raise ValueError("label smoothing must be at most 1")
        for name in ("smoothing_epochs", "across_after"):
            if not 0 <= getattr(self, name) <= MAX_EPOCH:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0 and at most {MAX_EPOCH}")
        self._check_terms()
        check_part("loss", self.loss, self.loss_options, OWN_LOSSES)
        if self.loss in OWN_LOSSES and self.needs_segment_labels and self.targets == "weak":
            raise ValueError("targets = 'weak' has no segment labels: set the segment and similarity weights to 0")

    def _check_terms(self) -> None:
        """Raise ValueError if settings of a term contradict each other."""
        if self.alignment_weight and self.alignment == "none":
            raise ValueError(f"alignment_weight needs alignment = {' or '.join(map(repr, ALIGNMENTS))}")
        if self.soft_temperature <= 0:
            raise ValueError(f"soft_temperature is {self.soft_temperature}; it must be above 0")
        uses_segments = self.audio_segment_weight or self.visual_segment_weight
        used = {
            "segment_targets = 'soft'": self.segment_targets == "soft", "class_balance": self.class_balance,
            "mixup_alpha": self.mixup_alpha,
        }  # fmt: skip
        if wrong := [name for name, value in used.items() if value and not uses_segments]:
            raise ValueError(f"{wrong[0]} needs a positive audio_segment_weight or visual_segment_weight")
        if self.visual_guide_smoothing and not self.guide_weight:
            raise ValueError("visual_guide_smoothing needs a positive guide_weight")
        if self.mixup_alpha and not self.mixup_weight:
            raise ValueError("mixup_alpha needs a positive mixup_weight")
        if self.across_after and self.across_weight:
            self.at(0)  # of the epochs before the contrast, which need another term

    @property
    def needs_segment_labels(self) -> bool:
        """Whether training needs segment labels (pseudo labels); for a loss of another package the targets decide."""
        weights = (self.audio_segment_weight, self.visual_segment_weight, self.similarity_weight)
        terms = self.loss in OWN_LOSSES and any(weights)
        return self.targets == "pseudo" or self.video_targets == "pseudo" or terms

    def at(self, epoch: int) -> Objective:
        """Return the objective of an epoch, from 0: without smoothing or the contrast where these are not used then."""
        changes: dict[str, Any] = {}
        if self.smoothing_epochs and epoch >= self.smoothing_epochs:
            changes |= {"audio_smoothing": 0.0, "visual_smoothing": 0.0, "visual_guide_smoothing": 0.0}
        if epoch < self.across_after:
            changes |= {"across_weight": 0.0, "across_after": 0}
        return replace(self, **changes) if changes else self

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
        Term name ("audio", "visual", "video", "audio_segment", "visual_segment", "similarity", "alignment",
        "audio_tokens", "visual_tokens", "across"; of guides "audio_guide", "visual_guide" and those of
        `guidance_losses`) -> scalar. Terms with weight 0 are absent and not computed; the
        objective's mutual learning and mixup are terms of `pipeline.training`.

    Raises:
        ValueError: the output or the targets lack what a term reads; the message names it.

    Source:
        github.com/jasongief/LEAP for the default objective; LEAP paper, Eq. 10 and 11, for the similarity. Others are
        described in `loss_terms`.
    """
    everything, output = output, labelled_rows(output, targets)
    video, audio, visual = _video_labels(targets, objective)

    def smoothed(modality: str, amount: float) -> Tensor:
        return smooth_labels(targets, {"audio": audio, "visual": visual}[modality], amount, modality, objective)

    def segment_term(modality: str) -> Tensor:
        labels, weights = segment_targets(targets, objective, modality), None
        if objective.class_balance:
            frequency = _given(getattr(targets, f"{modality}_frequency"), f"{modality}_frequency", "class_balance")
            weights = segment_weights(targets.video, frequency, objective.class_balance)
        if objective.segment_loss == "logits":
            return segment_bce_with_logits(getattr(output, f"{modality}_segment_logits"), labels, output.valid, weights)
        return segment_bce(getattr(output, f"{modality}_segment_probs"), labels, output.valid, weights)

    terms = {
        "audio": lambda: bce(output.audio_video_probs, smoothed("audio", objective.audio_smoothing)),
        "visual": lambda: bce(output.visual_video_probs, smoothed("visual", objective.visual_smoothing)),
        "video": lambda: bce(_video_probs(output, objective), video),
        "visual_segment": lambda: segment_term("visual"),
        "audio_segment": lambda: segment_term("audio"),
        "similarity": lambda: _similarity_loss(output, targets, objective),
        "alignment": lambda: _alignment_loss(output, objective),
        "audio_tokens": lambda: token_loss(_given(output.audio_token_logits, "tokens", "token_weight")),
        "visual_tokens": lambda: token_loss(_given(output.visual_token_logits, "tokens", "token_weight")),
        "across": lambda: _across_loss(everything, targets.partners, audio, visual),
    }
    weights = {name: getattr(objective, f"{name}_weight") for name in terms if not name.endswith("_tokens")}
    weights |= dict.fromkeys(("audio_tokens", "visual_tokens"), objective.token_weight)
    found = {name: weights[name] * term() for name, term in terms.items() if weights[name]}
    if not objective.guide_weight:
        return found
    return found | {name: objective.guide_weight * term for name, term in _guides(output, targets, objective)}


def _guides(output: ParserOutput, targets: Targets, objective: Objective) -> Iterator[tuple[str, Tensor]]:
    """Compute the terms of the guides from the labels of the modalities."""
    _, audio, visual = _video_labels(targets, objective)
    audio_guide = _given(output.audio_guide_probs, "guides (model.guides)", "guide_weight")
    visual_guide = _given(output.visual_guide_probs, "guides (model.guides)", "guide_weight")
    yield "audio_guide", bce(audio_guide, smooth_labels(targets, audio, objective.audio_smoothing, "audio", objective))
    smoothing = objective.visual_guide_smoothing
    yield "visual_guide", bce(visual_guide, smooth_labels(targets, visual, smoothing, "visual", objective))
    probs = output.audio_video_probs, output.visual_video_probs
    yield from guidance_losses(*probs, audio_guide, visual_guide).items()


def smooth_labels(targets: Targets, labels: Tensor, amount: float, modality: str, objective: Objective) -> Tensor:
    """Smooth the video-level labels of a modality, except those that denoising removed, as the objective says.

    Args:
        targets: of the batch.
        labels: (B, C) of the modality for the video.
        amount: of `smooth`.
        modality: "audio" or "visual".
        objective: `smooth_removed` says whether removed labels are smoothed.

    Returns:
        (B, C) targets.
    """
    result = smooth(labels, amount)
    if getattr(targets, modality) is None or objective.smooth_removed or not amount:
        return result
    return result.masked_fill(targets.video > labels, 0.0)


def segment_targets(targets: Targets, objective: Objective, modality: str) -> Tensor:
    """Return the targets of the segments of "audio" or "visual" (B, T, C): labels, or a teacher's probabilities.

    Raises:
        ValueError: the targets have none.
    """
    name = f"{modality}_soft" if objective.segment_targets == "soft" else f"{modality}_segments"
    return _given(getattr(targets, name), name, f"segment_targets = {objective.segment_targets!r}")


def _given(tensor: Tensor | None, name: str, setting: str) -> Tensor:
    """Return a tensor that a term reads. Raises ValueError naming the setting if there is none."""
    if tensor is None:
        raise ValueError(f"objective.{setting} needs {name}, which this batch or this network does not have")
    return tensor


def labelled_rows(output: ParserOutput, targets: Targets) -> ParserOutput:
    """Return the output of the clips that have labels, without the pairs that `Targets.partners` describes."""
    if targets.partners is None:
        return output
    count = len(targets.video)
    return replace(output, **{name: value[:count] for name, value in vars(output).items() if value is not None})


def _alignment_loss(output: ParserOutput, objective: Objective) -> Tensor:
    """Compute the alignment loss; MA compares the encoded sound with the picture as the stem projects it."""
    visual = output.visual_hidden
    if objective.alignment == "ma":
        visual = _given(output.visual_projected, "the stem's output", "alignment = 'ma'")
    return alignment_loss(output.audio_hidden, visual, objective.alignment, output.valid)


def _across_loss(output: ParserOutput, partners: Tensor | None, audio: Tensor, visual: Tensor) -> Tensor:
    """Compute the contrast across videos from labels of the modalities (B, C), which the further rows share."""
    if partners is not None:
        audio, visual = torch.cat([audio, audio]), torch.cat([visual, visual[partners]])
    sounds, pictures = (
        pool_by_labels(hidden, _given(logits, "pooling_logits", "across_weight"), labels, output.valid)
        for hidden, logits, labels in (
            (output.audio_hidden, output.audio_pooling_logits, audio),
            (output.visual_hidden, output.visual_pooling_logits, visual),
        )
    )
    return across_loss(sounds, pictures, audio, visual)


def _similarity_loss(output: ParserOutput, targets: Targets, objective: Objective) -> Tensor:
    """Compute the similarity loss with the target that the objective names."""
    assert targets.audio_segments is not None
    assert targets.visual_segments is not None
    expected = SIMILARITIES[objective.similarity](targets.audio_segments, targets.visual_segments, objective)
    return similarity_loss(output.audio_hidden, output.visual_hidden, expected, output.valid)


def _video_labels(targets: Targets, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """Return the video-level labels of the video, audio and visual, (B, C) each, before smoothing.

    Pseudo labels are the maximum of the segment labels over time.
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
    return video, audio, visual


def _video_probs(output: ParserOutput, objective: Objective) -> Tensor:
    """Return video probabilities: the objective's union for LEAP, the decoder's own for one that pools (MMIL)."""
    if output.audio_video_logits is None:
        return output.video_probs
    return UNIONS[objective.union](output.audio_video_probs, output.visual_video_probs)
