"""Small parsers with random parameters, and the state dicts of published parsers."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import torch
from avvp.models import AVParser, ParserConfig, build_parser

from support.golden import SEED, fill
from support.paths import ROOT

# Published keys with their shapes, by family; of LEAP's blocks only the first.
PUBLISHED_KEYS: dict[str, dict[str, list[int]]] = json.loads(
    (ROOT / "tests" / "golden" / "published_keys.json").read_text(encoding="utf-8")
)

TINY_SIZES: dict[str, Any] = {
    "audio_dim": 6, "visual_2d_dim": 10, "visual_3d_dim": 7, "hidden_dim": 16, "feedforward_dim": 12, "heads": 4,
    "levels": 3, "label_embedding_dim": 5, "leap_blocks": 2, "leap_heads": 2,
}  # fmt: skip


def tiny_parser(classes: int = 4, **changes: Any) -> AVParser:
    torch.manual_seed(1)
    labels = tuple(f"class {index}" for index in range(classes))
    config = ParserConfig(labels=labels, **{**TINY_SIZES, **changes})
    return build_parser(config, torch.randn(classes, config.label_embedding_dim)).double().eval()


def inputs(batch: int, segments: int, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, segments, 6), (batch, 8 * segments, 10), (batch, segments, 7))
    audio, visual_2d, visual_3d = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return audio, visual_2d, visual_3d


def published_state(blocks: int = 2, seed: int = SEED) -> dict[str, torch.Tensor]:
    """The published LEAP file's keys, for any number of LEAP blocks, filled by key name."""
    return {key: value.clone() for key, value in _filled("leap", blocks, seed).items()}


def family_state(family: str, seed: int = SEED) -> dict[str, torch.Tensor]:
    """The published file's keys of mmpyr, han or valor, filled by key name."""
    return {key: value.clone() for key, value in _filled(family, 0, seed).items()}


@lru_cache(maxsize=2)  # 200 MB each
def _filled(family: str, blocks: int, seed: int) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in PUBLISHED_KEYS[family].items():
        match = re.match(r"(AVL\.l[av]_cma_network\.)0(\..*)", key)
        names = [f"{match[1]}{block}{match[2]}" for block in range(blocks)] if match else [key]
        shapes |= dict.fromkeys(names, tuple(shape))
    return fill(shapes, seed)
