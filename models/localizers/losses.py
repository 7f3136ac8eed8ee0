"""Training losses of localizers: pure functions of a localizer's output and its targets.

Shapes: B batch, T segments, C classes; the background is class C. Q is the number of LEAP's queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..loss_terms.binary import bce, loss_dtype, mean_over_segments
from ..loss_terms.similarity import eiou, similarity_loss
from ..losses import MAX_LOSS_WEIGHT
from .config import LocalizerConfig
from .output import LocalizerOutput

_AVPS_WEIGHT = 100.0  # of the published PSP
_SUM_EPSILON = 1e-8  # avoids 0 / 0 in a clip without similar segments

# (system, supervision) -> its published terms and their weights
_PUBLISHED: dict[tuple[str, str], dict[str, float]] = {
    ("ave", "full"): {"multilabel_soft_margin": 1.0},
    ("ave", "weak"): {"multilabel_soft_margin": 1.0},
    ("dmrn", "full"): {"multilabel_soft_margin": 1.0},
    ("psp", "full"): {"cross_entropy": 1.0, "avps": _AVPS_WEIGHT},
    ("psp", "weak"): {"bce": 1.0},
    ("cmbs", "full"): {"event_bce": 1.0, "gate_bce": 1.0, "modality_ce": 1.0, "category_ce": 1.0},
    ("cmbs", "weak"): {"multilabel_soft_margin": 1.0},
    ("cpsp", "full"): {"event_bce": 1.0, "category_ce": 1.0, "avps": _AVPS_WEIGHT},
    ("cpsp", "weak"): {"multilabel_soft_margin": 1.0},
}
_LEAP_TERMS = {"full": {"label_video": 1.0, "similarity": 1.0}, "weak": {"label_video": 1.0}}


class LocalizationTargets(NamedTuple):
    """Labels of a batch. Weak supervision reads those of the clips only."""

    segments: Tensor | None  # (B, T) long in [0, C], class of each second
    video: Tensor  # (B, C + 1), 1 for the clip's class and 0 for the others
    shares: Tensor | None  # (B, C + 1), share of the seconds of each class


@dataclass(frozen=True, kw_only=True)
class LocalizationObjective:
    """Weights of the loss terms; those of weight 0 are not computed. `published` has those of each system.

    Raises:
        ValueError: a weight is negative, not finite or too large, or every weight is 0.
    """

    # AVE, DMRN, weak CMBS, weak CPSP: softmax output as the logits of each class, of segments or of clips
    multilabel_soft_margin_weight: float = 0.0
    cross_entropy_weight: float = 0.0  # PSP full: class of each segment
    avps_weight: float = 0.0  # PSP full, CPSP full: similarity of audio and visual, high in the event's segments
    bce_weight: float = 0.0  # PSP weak: share of the seconds of each class
    event_bce_weight: float = 0.0  # CMBS full, CPSP full: event in each segment; LEAP: of each class
    gate_bce_weight: float = 0.0  # CMBS full: the gate as the logit of an event
    modality_ce_weight: float = 0.0  # CMBS full: class of the clip, of each modality
    category_ce_weight: float = 0.0  # CMBS full, CPSP full: class of the clip
    label_video_weight: float = 0.0  # LEAP: classes of the clip, of the refined label embeddings
    similarity_weight: float = 0.0  # LEAP, full supervision: similarity of pairs of segments, by EIoU

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) not in {int, float} or not 0 <= value <= MAX_LOSS_WEIGHT:
                raise ValueError(f"{name} is {value}; it must be finite and not negative, at most {MAX_LOSS_WEIGHT:g}")
        if not any(vars(self).values()):
            raise ValueError("every weight is 0: at least one loss term needs a positive weight")

    @classmethod
    def published(cls, config: LocalizerConfig) -> LocalizationObjective:
        """Return the published objective of a system; LEAP adds its own terms with weight 1.

        Args:
            config: of the localizer.

        Returns:
            The objective.

        Source:
            The published programs, see `load_published`; CPSP's contrastive loss is left out.
        """
        terms = dict(_PUBLISHED[config.system, config.supervision])
        if config.decoder == "leap":
            terms |= _LEAP_TERMS[config.supervision]
        return cls(**{f"{name}_weight": weight for name, weight in terms.items()})

    @property
    def weights(self) -> dict[str, float]:
        """Name of each term with a positive weight -> its weight."""
        return {name.removesuffix("_weight"): weight for name, weight in vars(self).items() if weight}

    def check(self, config: LocalizerConfig) -> None:
        """Check that a localizer can be trained with this objective.

        Args:
            config: of the localizer.

        Raises:
            ValueError: a term is of another system, supervision or decoder. The message names both.
        """
        known = dict(_PUBLISHED[config.system, config.supervision])
        if config.decoder == "leap":
            known |= _LEAP_TERMS[config.supervision]
        for name in self.weights:
            if name not in known:
                raise ValueError(
                    f"{name}_weight is not for system {config.system!r} with {config.supervision} supervision and"
                    f" decoder {config.decoder!r}, whose losses are: {', '.join(known)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping of the fields."""
        return asdict(self)


def localization_terms(
    output: LocalizerOutput, targets: LocalizationTargets, objective: LocalizationObjective
) -> dict[str, Tensor]:
    """Compute the weighted loss terms; their sum is the loss. Padded segments do not count.

    Args:
        output: of the localizer.
        targets: labels of the same batch; those that no term reads may be None.
        objective: weights of the terms.

    Returns:
        Term name (a field of the objective without ``_weight``) -> scalar. Terms with weight 0 are absent and not
        computed.

    Raises:
        ValueError: a term needs a value that the output lacks, because it is of another system, supervision or decoder;
            or labels that the targets lack.
    """
    found = {}
    for name, weight in objective.weights.items():
        try:
            found[name] = weight * _TERMS[name](output, targets)
        except _MissingError as error:
            raise ValueError(f"the loss {name} ({name}_weight) needs {error}") from None
    return found


class _MissingError(Exception):
    """A value that a term needs; the message names it and what is there instead."""


def _need(output: LocalizerOutput, name: str) -> Tensor:
    """Return a field of the output. Raises _MissingError where the system does not compute it."""
    value = getattr(output, name)
    if value is None:
        computed = [entry for entry in _DISTINCTIVE if getattr(output, entry) is not None]
        raise _MissingError(f"{name}, but the localizer computes {', '.join(computed)} only")
    return value.to(loss_dtype(value))


# Fields that tell the systems, for messages.
_DISTINCTIVE = (
    *("segment_logits", "event_logits", "category_logits", "gate", "modality_logits", "video_probs", "similarity"),
    "label_video_logits",
)


def _segments(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Return the classes of segments. Raises _MissingError where there are none or supervision is weak."""
    if output.video_probs is not None:
        raise _MissingError("labels of segments, but the localizer computes video_probs, for weak supervision")
    if targets.segments is None:
        raise _MissingError("labels of segments, but the targets have none")
    return targets.segments


def _mean(losses: Tensor, output: LocalizerOutput) -> Tensor:
    """Compute the mean of losses (B, T) over the real segments."""
    return mean_over_segments(losses[..., None], output.valid)


def _multilabel_soft_margin(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Take the softmax output for logits, as the published programs do."""
    if output.video_probs is not None:
        probs = _need(output, "video_probs")
        return F.multilabel_soft_margin_loss(probs, targets.video[:, : probs.shape[-1]].to(probs.dtype))
    logits = _need(output, "segment_logits")
    labels = F.one_hot(_segments(output, targets), logits.shape[-1]).to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits.softmax(dim=-1), labels, reduction="none")
    return mean_over_segments(losses, output.valid)


def _cross_entropy(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    segments, logits = _segments(output, targets), _need(output, "segment_logits")
    return _mean(F.cross_entropy(logits.transpose(1, 2), segments, reduction="none"), output)


def _avps(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Compare shares of similarity with `similarity_shares`."""
    segments, similarity = _segments(output, targets), _need(output, "similarity")
    positive = F.relu(similarity) * output.valid
    shares = positive / (positive.sum(dim=1, keepdim=True) + _SUM_EPSILON)
    expected = similarity_shares(_is_event(output, targets, segments), output.valid)
    return _mean((shares - expected.to(shares.dtype)).square(), output)


def similarity_shares(events: Tensor, valid: Tensor) -> Tensor:
    """Compute PSP's target of the similarities: equal shares for the segments of the event.

    Args:
        events: (B, T) bool, True where there is an event.
        valid: (B, T) bool, True on real segments.

    Returns:
        (B, T): 1 / k on the k segments of the event and 0 elsewhere; without an event the same for all real segments.

    Source:
        github.com/jasongief/PSP_CVPR_2021, whose program keeps the targets of earlier batches; this one does not.
    """
    events = events & valid
    chosen = torch.where(events.any(dim=1, keepdim=True), events, valid).float()
    return chosen / chosen.sum(dim=1, keepdim=True)


def _is_event(output: LocalizerOutput, targets: LocalizationTargets, segments: Tensor) -> Tensor:
    """Return where there is an event, (B, T) bool."""
    return (segments < targets.video.shape[-1] - 1) & output.valid


def _share_bce(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    probs = _need(output, "video_probs")
    if targets.shares is None:
        raise _MissingError("shares of classes, but the targets have none")
    if targets.shares.shape != probs.shape:
        raise _MissingError(f"video_probs {tuple(targets.shares.shape)} with the background, not {tuple(probs.shape)}")
    return bce(probs, targets.shares)


def _event_bce(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Score events; with LEAP those of every class, because an event logit is that of the clip's class only."""
    segments, logits = _segments(output, targets), _need(output, "event_logits")
    if output.label_segment_logits is None:
        return _binary(logits, _is_event(output, targets, segments), output)
    logits = _need(output, "label_segment_logits")
    labels = F.one_hot(segments, targets.video.shape[-1])[..., : logits.shape[-1]].to(logits.dtype)
    return mean_over_segments(F.binary_cross_entropy_with_logits(logits, labels, reduction="none"), output.valid)


def _gate_bce(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Take the gate, which is in [0, 1], for a logit, as the published program does."""
    segments, gate = _segments(output, targets), _need(output, "gate")
    return _binary(gate, _is_event(output, targets, segments), output)


def _binary(logits: Tensor, events: Tensor, output: LocalizerOutput) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(logits, events.to(logits.dtype), reduction="none")
    return _mean(losses, output)


def _clip_cross_entropy(name: str) -> Callable[[LocalizerOutput, LocalizationTargets], Tensor]:
    """Return the cross-entropy of the class of the clip; a clip without an event counts as class 0, as published."""

    def term(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
        segments, logits = _segments(output, targets), _need(output, name)
        return F.cross_entropy(logits, torch.where(_is_event(output, targets, segments), segments, 0).amax(dim=1))

    return term


def _label_video(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Score LEAP's classes of the clip: with full supervision those of its segments, the background included."""
    logits = _need(output, "label_video_logits")
    labels = targets.video
    if output.video_probs is None:
        one_hot = F.one_hot(_segments(output, targets), labels.shape[-1])
        labels = (one_hot * output.valid[..., None]).amax(dim=1)
    return bce(logits.sigmoid(), labels[:, : logits.shape[-1]].to(logits.dtype))


def _similarity(output: LocalizerOutput, targets: LocalizationTargets) -> Tensor:
    """Compare the similarity of pairs with their EIoU: 1 for two segments of the event, else 0."""
    segments = _segments(output, targets)
    labels = F.one_hot(segments, targets.video.shape[-1])[..., :-1]
    return similarity_loss(output.audio_hidden, output.visual_hidden, eiou(labels, labels), output.valid)


_TERMS: Mapping[str, Callable[[LocalizerOutput, LocalizationTargets], Tensor]] = {
    "multilabel_soft_margin": _multilabel_soft_margin,
    "cross_entropy": _cross_entropy,
    "avps": _avps,
    "bce": _share_bce,
    "event_bce": _event_bce,
    "gate_bce": _gate_bce,
    "modality_ce": _clip_cross_entropy("modality_logits"),
    "category_ce": _clip_cross_entropy("category_logits"),
    "label_video": _label_video,
    "similarity": _similarity,
}
