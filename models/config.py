"""The configuration that rebuilds a parser; it is stored with every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

# What each named choice may be.
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
    """Everything that fixes a parser's architecture. The defaults are MM-Pyr + LEAP on LLP.

    Raises ValueError where two values cannot go together.
    """

    labels: tuple[str, ...]  # C class names; their order is the order of every class axis
    audio_dim: int = 128  # width of the audio features (VGGish)
    visual_2d_dim: int = 2048  # width of the per-frame features (ResNet-152)
    visual_3d_dim: int = 512  # width of the per-second features (R(2+1)D-18)
    hidden_dim: int = 512  # D
    feedforward_dim: int = 512
    encoder: str = "mmpyr"
    heads: int = 8  # attention heads of the encoder
    levels: int = 4  # MM-Pyr: pyramid levels; level l sees 2^l seconds to each side
    layers: int = 1  # HAN: layers
    han_order: str = "parallel"  # HAN: both streams read each other's input, or ("sequential", VALOR) audio goes first
    decoder: str = "leap"
    label_queries: str = "embeddings"  # LEAP: given label embeddings, projected; or queries learned from scratch
    label_embedding_dim: int = 300  # LEAP: width of the given label embeddings (GloVe)
    leap_blocks: int = 2
    leap_heads: int = 8
    leap_variant: str = "published"  # or "paper": Eq. 2-7 taken literally
    leap_prediction: str = "last"  # whose attention predicts the segments: the first block, the last, or their average
    swap_modalities: bool = False  # MMIL: read the visual stream as audio and the reverse, as published MM-Pyr does
    dropout: float = 0.2
    attention_dropout: float = 0.1
    segments: int = 10  # T that the parser is trained on; longer videos are parsed in windows of it

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be a non-empty list without repetitions")
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
            raise ValueError(f"levels is {self.levels}; {_MAX_LEVELS} see nine hours to each side")
        if not (0 <= self.dropout < 1 and 0 <= self.attention_dropout < 1):
            raise ValueError("dropout and attention_dropout must be at least 0 and below 1")
        if self.swap_modalities and self.decoder != "mmil":
            raise ValueError("swap_modalities is a peculiarity of MMIL; LEAP has one decoder for each modality")

    @property
    def needs_label_embeddings(self) -> bool:
        """Whether the decoder reads label embeddings (C, label_embedding_dim)."""
        return self.decoder == "leap" and self.label_queries == "embeddings"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `from_dict` reverses it."""
        return asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> ParserConfig:
        """Rebuild from `to_dict`. Unknown names are a ValueError: they come from a newer program."""
        unknown = sorted(set(mapping) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown parser settings: {', '.join(unknown)}")
        return cls(**{**mapping, "labels": tuple(mapping["labels"])})
