"""Small localizers with random parameters, their inputs and targets; published ones, filled by key name."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from avvp.models import EventLocalizer, LocalizationTargets, LocalizerConfig, LocalizerOutput, build_localizer
from avvp.models.localizers.config import SYSTEMS

from support.golden import SEED, fill
from support.paths import ROOT

# Published keys with their shapes, by system and supervision.
PUBLISHED_KEYS: dict[str, dict[str, list[int]]] = json.loads(
    (ROOT / "tests" / "golden" / "published_localizer_keys.json").read_text(encoding="utf-8")
)

CLASSES = 3
TINY_SIZES: dict[str, Any] = {
    "audio_dim": 6, "visual_dim": 10, "positions": 4, "attention_dim": 8, "hidden_dim": 16, "classifier_dim": 5,
    "feedforward_dim": 12, "decoder_feedforward_dim": 9, "heads": 4, "interaction_heads": 2, "label_embedding_dim": 5,
    "leap_heads": 4, "leap_feedforward_dim": 7, "segments": 5,
}  # fmt: skip
# Every localizer: settings that choose its parts.
KINDS: list[dict[str, str]] = [
    {"system": system, "supervision": supervision, **decoder}
    for system, supervisions in SYSTEMS.items()
    for supervision in supervisions
    for decoder in ({"decoder": "dch"}, {"decoder": "leap"})
]
# What LEAP may read besides.
LEAP_KINDS: list[dict[str, str]] = [
    {"system": "ave", "decoder": "leap", "leap_memory": "modalities"},
    {"system": "psp", "decoder": "leap", "background_query": "learned"},
    {"system": "psp", "decoder": "leap", "label_queries": "learned"},
    {"system": "dmrn", "decoder": "leap", "leap_variant": "paper", "leap_prediction": "average"},
    {"system": "cmbs", "decoder": "leap", "leap_memory": "modalities"},
    {"system": "cmbs", "decoder": "leap", "leap_memory": "modalities", "supervision": "weak"},
]


def kind_name(kind: dict[str, str]) -> str:
    return "-".join(kind.values())


def tiny_config(classes: int = CLASSES, **changes: Any) -> LocalizerConfig:
    labels = tuple(f"class {index}" for index in range(classes))
    return LocalizerConfig(labels=labels, **{**TINY_SIZES, **changes})


def tiny_localizer(classes: int = CLASSES, seed: int = 1, **changes: Any) -> EventLocalizer:
    """A localizer in float64 and eval mode."""
    torch.manual_seed(seed)
    config = tiny_config(classes, **changes)
    embeddings = torch.randn(len(config.embedding_labels), config.label_embedding_dim)
    return build_localizer(config, embeddings).double().eval()


def clip_inputs(batch: int, segments: int, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio (B, T, 6) and feature maps (B, T, 2, 2, 10) of the small localizers."""
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(batch, segments, 6, generator=generator, dtype=torch.float64)
    visual = torch.randn(batch, segments, 2, 2, 10, generator=generator, dtype=torch.float64)
    return audio.relu(), visual.relu()


def clip_targets(events: list[tuple[int, int, int]], segments: int, classes: int = CLASSES) -> LocalizationTargets:
    """Targets of clips: class of the event, its first second, the second after its last; background where none is."""
    labels = torch.full((len(events), segments), classes)
    for row, (label, start, end) in enumerate(events):
        labels[row, start:end] = label
    one_hot = torch.nn.functional.one_hot(labels, classes + 1).float()
    found = torch.tensor([label if start < end else classes for label, start, end in events])
    video = torch.nn.functional.one_hot(found, classes + 1).float()
    return LocalizationTargets(labels, video, one_hot.mean(dim=1))


def golden_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Audio (4, 10, 128) and feature maps (4, 10, 7, 7, 512) of the goldens."""
    rng = np.random.default_rng(SEED + 1)
    audio = (np.maximum(rng.standard_normal((4, 10, 128)), 0) * 0.4).astype("f4")
    visual = np.maximum(rng.standard_normal((4, 10, 7, 7, 512)), 0).astype("f4")
    return torch.from_numpy(audio), torch.from_numpy(visual)


def golden_targets() -> LocalizationTargets:
    return clip_targets([(3, 2, 7), (0, 0, 10), (27, 9, 10), (14, 0, 0)], segments=10, classes=28)


def golden_state(system: str, supervision: str) -> dict[str, torch.Tensor]:
    """The published state dict of a system, filled by key name."""
    return {key: value.clone() for key, value in _filled(system, supervision).items()}


@lru_cache(maxsize=2)  # up to 60 MB each
def _filled(system: str, supervision: str) -> dict[str, torch.Tensor]:
    return fill({key: tuple(shape) for key, shape in PUBLISHED_KEYS[f"{system}/{supervision}"].items()})


def make_output(valid: torch.Tensor | None = None, **values: torch.Tensor) -> LocalizerOutput:
    """An output that holds these values; what they do not determine is 0. `valid` is True everywhere by default."""
    first = values.get("segment_logits", values.get("event_logits", values.get("gate")))
    assert first is not None
    batch, length = first.shape[:2]
    zeros = torch.zeros(batch, length, 2)
    return LocalizerOutput(
        valid=torch.ones(batch, length, dtype=torch.bool) if valid is None else valid,
        audio_hidden=values.pop("audio_hidden", zeros),
        visual_hidden=values.pop("visual_hidden", zeros),
        fused=zeros,
        spatial_attention=torch.zeros(batch, length, 1, 1),
        **values,
    )
