"""DCH: the classifiers of the published systems, on hidden features (the LEAP paper's name for them)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .config import LocalizerConfig
from .encoded import Classified
from .pooling import masked_max, masked_mean


class SegmentClassifier(nn.Module):
    """Classify each segment; the background is a class (AVE, DMRN, PSP, weak CMBS).

    AVE and PSP have two linear layers, PSP's without bias; DMRN has one, weak CMBS one without bias.

    Args:
        config: system and sizes.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        bias = config.system in {"ave", "dmrn"}
        has_hidden = config.system in {"ave", "psp"}
        width = config.classifier_dim if has_hidden else config.fused_dim
        self.hidden = nn.Linear(config.fused_dim, width, bias=bias) if has_hidden else None
        self.output = nn.Linear(width, config.queries, bias=bias)
        if config.system != "cmbs":
            for layer in self.children():
                assert isinstance(layer, nn.Linear)
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, audio: Tensor, visual: Tensor, fused: Tensor, valid: Tensor | None = None) -> Classified:  # noqa: ARG002
        """Classify fused segments.

        Args:
            audio: not read; LEAP may read it.
            visual: not read.
            fused: (B, T, fused_dim).
            valid: not read: each segment is classified by itself.

        Returns:
            Segment logits.
        """
        return Classified(self.output(fused if self.hidden is None else F.relu(self.hidden(fused))))


class EventClassifier(nn.Module):
    """Detect events in each segment, and classify the clip (CMBS full: maximum over time, CPSP: mean).

    Args:
        config: system and sizes.
    """

    def __init__(self, config: LocalizerConfig) -> None:
        super().__init__()
        self.pool = masked_max if config.system == "cmbs" else masked_mean
        self.event = nn.Linear(config.fused_dim, 1)
        self.category = nn.Linear(config.fused_dim, len(config.labels))

    def forward(self, audio: Tensor, visual: Tensor, fused: Tensor, valid: Tensor | None = None) -> Classified:  # noqa: ARG002
        """Detect and classify the event of a clip.

        Args:
            audio: not read; LEAP may read it.
            visual: not read.
            fused: (B, T, fused_dim).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Event logits and category logits.
        """
        event, category = self.event(fused).squeeze(-1), self.category(self.pool(fused, valid))
        return Classified(event_logits=event, category_logits=category)
