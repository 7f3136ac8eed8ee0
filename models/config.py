"""Parser configuration: everything that fixes an architecture, stored in every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

# Allowed values of each field that names a choice.
CHOICES = {
    "encoder": ("mmpyr", "han"),
    "decoder": ("leap", "mmil"),
    "han_order": ("parallel", "sequential"),
    "leap_variant": ("published", "paper"),
    "leap_prediction": ("first", "last", "average"),
    "label_queries": ("embeddings", "learned"),
}

_COUNTS = (
    "audio_dim", "visual_2d_dim", "visual_3d_dim", "hidden_dim", "feedforward_dim", "levels", "layers",
    "label_embedding_dim", "leap_blocks", "segments",
)  # fmt: skip
_MAX_LEVELS = 16


@dataclass(frozen=True, kw_only=True)
class ParserConfig:
    """Architecture of a parser. The defaults are the published MM-Pyr + LEAP on LLP features.

    Raises:
        ValueError: a value is out of range, or two values contradict each other.
    """

    labels: tuple[str, ...]  # C class names; their order is the order of every class axis
    audio_dim: int = 128  # width of the audio features (VGGish)
    visual_2d_dim: int = 2048  # width of the per-frame features (ResNet-152)
    visual_3d_dim: int = 512  # width of the per-second features (R(2+1)D-18)
    hidden_dim: int = 512  # D
    feedforward_dim: int = 512
    encoder: str = "mmpyr"
    heads: int = 8  # attention heads of the encoder
    levels: int = 4  # MM-Pyr: pyramid levels; level l attends to 2^l seconds on each side
    layers: int = 1  # HAN: number of layers
    han_order: str = "parallel"  # HAN: both modalities attend to the layer's input; "sequential" (VALOR): audio first
    decoder: str = "leap"
    label_queries: str = "embeddings"  # LEAP: projected label embeddings; or "learned" from scratch (paper, Table 8)
    label_embedding_dim: int = 300  # LEAP: width of the label embeddings (GloVe)
    leap_blocks: int = 2  # LEAP: blocks per modality (paper, Table 1)
    leap_heads: int = 8  # attention heads of the LEAP blocks
    leap_variant: str = "published"  # or "paper": Eq. 2-7 as printed
    leap_prediction: str = "last"  # block whose logits predict the segments: first, last or average (paper, Table 7)
    swap_modalities: bool = False  # MMIL: treat the visual stream as audio and vice versa, as published MM-Pyr does
    dropout: float = 0.2
    attention_dropout: float = 0.1
    segments: int = 10  # T in training; longer videos are parsed in windows of this length

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be a non-empty list without duplicates")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(choices)}")
        for name in ("heads", "leap_heads") if self.decoder == "leap" else ("heads",):
            if getattr(self, name) < 1 or self.hidden_dim % getattr(self, name):
                raise ValueError(f"{name} {getattr(self, name)} does not divide hidden_dim {self.hidden_dim}")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.levels > _MAX_LEVELS:
            raise ValueError(
                f"levels is {self.levels}; the maximum is {_MAX_LEVELS} (a window of nine hours to each side)"
            )
        if not (0 <= self.dropout < 1 and 0 <= self.attention_dropout < 1):
            raise ValueError("dropout and attention_dropout must be at least 0 and below 1")
        if self.swap_modalities and self.decoder != "mmil":
            raise ValueError("swap_modalities is for the decoder mmil; leap has a separate decoder for each modality")

    @property
    def needs_label_embeddings(self) -> bool:
        """Whether the decoder reads label embeddings (C, label_embedding_dim)."""
        return self.decoder == "leap" and self.label_queries == "embeddings"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads."""
        return asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> ParserConfig:
        """Rebuild a configuration from `to_dict`.

        Args:
            mapping: field name -> value; absent fields take their defaults.

        Returns:
            The configuration.

        Raises:
            ValueError: a name is unknown (written by a newer version), or a value is invalid.
        """
        unknown = sorted(set(mapping) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown parser settings: {', '.join(unknown)}")
        return cls(**{**mapping, "labels": tuple(mapping["labels"])})
