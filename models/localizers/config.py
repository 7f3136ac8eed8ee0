"""Localizer configuration: everything that fixes an architecture, stored in every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...weights.messages import shown
from ...weights.parts import check_part
from ..config import (
    CHOICES,
    MAX_BLOCKS,
    MAX_LAYERS,
    MAX_SEGMENTS,
    MAX_WIDTH,
    LeapConfig,
    check_choices,
    check_labels,
    check_rates,
    check_sizes,
    read_fields,
)

# Supervisions that each system is published with.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "ave": ("full", "weak"),
    "dmrn": ("full",),
    "psp": ("full", "weak"),
    "cmbs": ("full", "weak"),
    "cpsp": ("full", "weak"),
}
DECISIONS = ("thresholds", "published")  # names of this program in the field `decision`
BACKGROUND = "background"  # name of class C, for label embeddings
MAX_POSITIONS = 1024  # of a feature map: self-attention has the square of them

PUBLISHED: Any = None  # default of fields whose published number depends on system and supervision
_BASE = {
    "feedforward_dim": 1024,
    "interaction_heads": 4,
    "map_dropout": 0.2,
    "threshold": 0.099,
    "alpha": 0.1,
    "beta": 0.4,
    "gamma": 0.3,
}
_CMBS_WEAK = {
    "feedforward_dim": 2048,
    "interaction_heads": 2,
    "map_dropout": 0.1,
    "alpha": 0.2,
    "beta": 0.5,
    "gamma": 0.5,
}
_PSP_WEAK = {"threshold": 0.095}
_NUMBERS = {("psp", "weak"): _PSP_WEAK, ("cpsp", "weak"): _PSP_WEAK, ("cmbs", "weak"): _CMBS_WEAK}

_CHOICES = {
    "system": tuple(SYSTEMS),
    "supervision": ("full", "weak"),
    "decoder": ("dch", "leap"),
    "background_query": ("name", "learned"),
    "leap_memory": ("fused", "modalities"),
    **{name: CHOICES[name] for name in ("label_queries", "leap_variant", "leap_prediction")},
}
_LIMITS = {
    "audio_dim": MAX_WIDTH,
    "visual_dim": MAX_WIDTH,
    "positions": MAX_POSITIONS,
    "attention_dim": MAX_WIDTH,
    "hidden_dim": MAX_WIDTH,
    "classifier_dim": MAX_WIDTH,
    "feedforward_dim": MAX_WIDTH,
    "decoder_feedforward_dim": MAX_WIDTH,
    "layers": MAX_LAYERS,
    "heads": MAX_WIDTH,
    "interaction_heads": MAX_WIDTH,
    "label_embedding_dim": MAX_WIDTH,
    "leap_blocks": MAX_BLOCKS,
    "leap_heads": MAX_WIDTH,
    "leap_feedforward_dim": MAX_WIDTH,
    "segments": MAX_SEGMENTS,
}
_RATES = (
    "dropout",
    "attention_dropout",
    "map_dropout",
    "map_attention_dropout",
    "interaction_dropout",
    "leap_dropout",
    "leap_attention_dropout",
)
_SHARES = ("threshold", "alpha", "beta", "gamma")


@dataclass(frozen=True, kw_only=True)
class LocalizerConfig:
    """Architecture of a localizer. The defaults are the published numbers of the system and its supervision.

    Raises:
        ValueError: a value is out of range, or two values contradict each other.
    """

    labels: tuple[str, ...]  # C class names without the background, which is class C
    system: str  # key of `SYSTEMS`
    supervision: str = "full"  # labels of seconds; or "weak": of clips
    decoder: str = "dch"  # the system's own classifier; or "leap" in its place
    audio_dim: int = 128  # width of the audio features (VGGish)
    visual_dim: int = 512  # channels of a feature map (VGG19)
    positions: int = 49  # of a feature map, a square number
    attention_dim: int = 512  # AVE, DMRN, PSP, CPSP: width inside the attention over positions
    hidden_dim: int = 256  # of each modality; each direction of an LSTM has half of it
    classifier_dim: int = 64  # AVE, PSP: width inside the classifier
    feedforward_dim: int = PUBLISHED  # CMBS: width inside the feed-forward parts of encoders
    decoder_feedforward_dim: int = 1024  # CMBS: of decoders
    layers: int = 2  # CMBS: layers of an encoder
    heads: int = 4  # CMBS: attention heads of encoders and decoders
    interaction_heads: int = PUBLISHED  # CMBS: attention heads between the modalities
    dropout: float = 0.1  # PSP, CPSP, CMBS: on branches
    attention_dropout: float = 0.1  # CMBS: on attention weights of encoders and decoders
    map_dropout: float = PUBLISHED  # CMBS: on feature maps
    map_attention_dropout: float = 0.2  # CMBS: on the self-attention of feature maps
    interaction_dropout: float = 0.2  # CMBS: on attention weights between the modalities
    threshold: float = PUBLISHED  # PSP, CPSP: least share of a pair of segments that is kept
    alpha: float = PUBLISHED  # CMBS: weight of the gates
    beta: float = PUBLISHED  # CMBS: weight of the map's own view
    gamma: float = PUBLISHED  # CMBS: weight of the modalities' classes
    label_queries: str = "embeddings"  # LEAP: projected label embeddings; or "learned" from scratch
    background_query: str = "name"  # LEAP: the background's query is its name's embedding; or "learned"
    label_embedding_dim: int = 300  # LEAP: width of the label embeddings (GloVe)
    leap_memory: str = "fused"  # LEAP: what the classifier reads; or "modalities": one decoder each, averaged
    leap_blocks: int = 2
    leap_heads: int = 8
    leap_feedforward_dim: int = 512
    leap_variant: str = "published"  # or "paper": Eq. 2-7 as printed
    leap_prediction: str = "last"  # block whose logits predict the segments: first, last or average
    leap_dropout: float = 0.2
    leap_attention_dropout: float = 0.1
    segments: int = 10  # T in training; longer videos are localized in windows of this length
    decision: str = "thresholds"  # "published" (CMBS weak): each second is an event, as its program decides
    decision_options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of a decision of another package

    def __post_init__(self) -> None:
        check_labels(self.labels)
        if BACKGROUND in self.labels:
            raise ValueError(f"a class is called {BACKGROUND!r}, the name of the seconds without an event")
        check_choices(self, _CHOICES)
        if self.supervision not in SYSTEMS[self.system]:
            raise ValueError(f"system {self.system!r} has no supervision {self.supervision!r}, only 'full'")
        for name, number in (_BASE | _NUMBERS.get((self.system, self.supervision), {})).items():
            if getattr(self, name) is PUBLISHED:
                object.__setattr__(self, name, number)
        check_part("decision", self.decision, self.decision_options, DECISIONS)
        if self.decision == "published" and (self.system, self.supervision) != ("cmbs", "weak"):
            raise ValueError(
                f"decision 'published' is for system 'cmbs' with supervision 'weak', not for {self.system!r} with"
                f" {self.supervision!r}: there 'thresholds' is the published decision"
            )
        check_sizes(self, _LIMITS)
        check_rates(self, _RATES)
        for name in _SHARES:
            value = getattr(self, name)
            if type(value) not in {int, float} or not 0 <= value <= 1:
                raise ValueError(f"{name} is {shown(value)}; it must be a number from 0 to 1")
        if math.isqrt(self.positions) ** 2 != self.positions:
            raise ValueError(f"positions is {self.positions}, expected a square number such as 49")
        if self.hidden_dim % 2:
            raise ValueError(f"hidden_dim is {self.hidden_dim}, expected an even number: LSTMs have two directions")
        widths = {"heads": self.hidden_dim, "interaction_heads": self.hidden_dim} if self.system == "cmbs" else {}
        if self.decoder == "leap":
            widths["leap_heads"] = self.leap.width
        for name, width in widths.items():
            if width % getattr(self, name):
                raise ValueError(f"{name} {getattr(self, name)} does not divide the width {width} that it attends to")

    @property
    def side(self) -> int:
        """Height and width of a feature map, in positions."""
        return math.isqrt(self.positions)

    @property
    def fused_dim(self) -> int:
        """Width of what the classifier reads."""
        return 2 * self.hidden_dim if self.system == "ave" else self.hidden_dim

    @property
    def classifies_background(self) -> bool:
        """Whether the background is class C of the classifier; else events are detected apart from their category."""
        return self.system in {"ave", "dmrn", "psp"} or (self.system, self.supervision) == ("cmbs", "weak")

    @property
    def queries(self) -> int:
        """Number of LEAP's label queries."""
        return len(self.labels) + self.classifies_background

    @property
    def embedding_labels(self) -> tuple[str, ...]:
        """Names of the label embeddings, in their order: the labels, and "background" where it is embedded too."""
        embedded = self.classifies_background and self.background_query == "name"
        return (*self.labels, BACKGROUND) if embedded else self.labels

    @property
    def needs_label_embeddings(self) -> bool:
        """Whether the decoder reads label embeddings, of `embedding_labels`."""
        return self.decoder == "leap" and self.label_queries == "embeddings"

    @property
    def leap(self) -> LeapConfig:
        """Sizes of the LEAP decoder."""
        return LeapConfig(
            width=self.fused_dim if self.leap_memory == "fused" else self.hidden_dim,
            feedforward=self.leap_feedforward_dim,
            heads=self.leap_heads,
            blocks=self.leap_blocks,
            variant=self.leap_variant,
            prediction=self.leap_prediction,
            dropout=self.leap_dropout,
            attention_dropout=self.leap_attention_dropout,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads; without `decision_options` where there are none."""
        values = asdict(self) | {"labels": list(self.labels)}
        return {name: value for name, value in values.items() if name != "decision_options" or value}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> LocalizerConfig:
        """Rebuild a configuration from `to_dict`.

        Args:
            mapping: field name -> value; absent fields take their defaults.

        Returns:
            The configuration.

        Raises:
            ValueError: a name is unknown (written by a newer version), or a value is invalid.
        """
        values = read_fields(cls, mapping, "localizer")
        if "system" not in values:
            raise ValueError(f"localizer settings have no system, one of {', '.join(SYSTEMS)}")
        return cls(**values)
