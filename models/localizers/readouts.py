"""What stands behind the classifier of a localizer: pooling, gates, probabilities of the clip.

A readout takes the encoded segments, the classifier's result and which segments are real, and returns fields of
`LocalizerOutput`. It is the same with LEAP as the classifier. Shapes: B batch, T segments, C classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from .config import LocalizerConfig
from .encoded import Classified, Encoded
from .pooling import masked_max, masked_mean, top_mean

Fields = dict[str, Tensor]


class SegmentReadout(nn.Module):
    """AVE and DMRN: the segment logits; with weak supervision the softmax of their maximum over time.

    Args:
        config: supervision.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.is_weak = config.supervision == "weak"

    def forward(self, encoded: Encoded, classified: Classified, valid: Tensor | None) -> Fields:  # noqa: ARG002
        """Return segment logits and, with weak supervision, video probabilities."""
        logits = classified.segment_logits
        assert logits is not None
        probs = {"video_probs": masked_max(logits, valid).softmax(dim=-1)} if self.is_weak else {}
        return {"segment_logits": logits, **probs}


class WeightedReadout(nn.Module):
    """Weak PSP: segment logits weighted by a number in [0.5, 1), and the softmax of their mean over time.

    Args:
        config: number of classes.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.weight = nn.Linear(config.queries, 1, bias=False)

    def forward(self, encoded: Encoded, classified: Classified, valid: Tensor | None) -> Fields:  # noqa: ARG002
        """Return segment logits and video probabilities."""
        logits = classified.segment_logits
        assert logits is not None
        logits = logits * self.weight(logits).relu().sigmoid()
        return {"segment_logits": logits, "video_probs": masked_mean(logits, valid).softmax(dim=-1)}


class GatedReadout(nn.Module):
    """Weak CMBS: classes weighted by those of the modalities, pooled over time, gated.

    Args:
        config: gamma and the decision.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.gamma = config.gamma
        self.is_published = config.decision == "published"

    def forward(self, encoded: Encoded, classified: Classified, valid: Tensor | None) -> Fields:
        """Return gate, video logits and video probabilities; the gate as event logits with the published decision."""
        assert classified.segment_logits is not None
        assert encoded.gate is not None
        assert encoded.audio_classes is not None
        assert encoded.visual_classes is not None
        modalities = encoded.visual_classes.sigmoid() + encoded.audio_classes.sigmoid()
        video = top_mean(self.gamma * modalities * classified.segment_logits, valid)
        gated = masked_max(encoded.gate[..., None] * video[:, None], valid)
        # The published program takes the gate for a logit: its sigmoid is above 0.5 in every segment.
        events = {"event_logits": encoded.gate} if self.is_published else {}
        return {"gate": encoded.gate, "video_logits": video, "video_probs": gated.softmax(dim=-1), **events}


class EventReadout(nn.Module):
    """CMBS full and CPSP: events and their category; LEAP's logits of the clip's class are its event logits.

    Args:
        config: system, supervision and gamma.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.gamma = config.gamma
        self.has_probs = config.supervision == "weak"

    def forward(self, encoded: Encoded, classified: Classified, valid: Tensor | None) -> Fields:
        """Return event and category logits; CMBS: gate and logits of the modalities, weak CPSP: video probabilities."""
        category, events = classified.category_logits, classified.event_logits
        assert category is not None
        found: Fields = {}
        if encoded.audio_classes is not None and encoded.visual_classes is not None:
            assert encoded.gate is not None
            modality = (top_mean(encoded.visual_classes, valid) + top_mean(encoded.audio_classes, valid)) / 2
            category = category + self.gamma * modality
            found = {"gate": encoded.gate, "modality_logits": modality}
        if events is None:
            assert classified.segment_logits is not None
            largest = category.argmax(dim=-1)[:, None, None].expand(-1, classified.segment_logits.shape[1], -1)
            # `take_along_dim` would fix the size of the batch in exported programs.
            events = classified.segment_logits.gather(-1, largest).squeeze(-1)
        if self.has_probs:
            by_second = events.sigmoid()[..., None] * category[:, None]
            found["video_probs"] = masked_max(by_second, valid).softmax(dim=-1)
        return {"event_logits": events, "category_logits": category, **found}


def build_readout(config: LocalizerConfig) -> nn.Module:
    """Build the readout of a system.

    Args:
        config: the architecture.

    Returns:
        A module with ``forward(encoded, classified, valid)``.
    """
    if not config.classifies_background:
        return EventReadout(config)
    if config.system == "cmbs":
        return GatedReadout(config)
    return WeightedReadout(config) if (config.system, config.supervision) == ("psp", "weak") else SegmentReadout(config)
