"""Loading the weight files that the authors published, keys unchanged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .config import ParserConfig
from .labels import LLP_LABELS
from .parser import AVParser, build_parser

# Names inside an attention layer, wherever it stands.
_LAYER = (
    (r"self_attn\.linears\.0\.", "attention.query."),
    (r"self_attn\.linears\.1\.", "attention.key."),
    (r"self_attn\.linears\.2\.", "attention.value."),
    (r"self_attn\.linears\.3\.", "attention.output."),
    (r"feed_forward\.w_1\.", "feedforward.0."),
    (r"feed_forward\.w_2\.", "feedforward.3."),
    (r"sublayer\.0\.norm\.", "attention_norm."),
    (r"sublayer\.1\.norm\.", "feedforward_norm."),
)
# Where a published module stands in ours; matched from the start of the key.
_LEAP = (
    (r"fc_a\.", "stem.audio."),
    (r"fc_v\.", "stem.visual_2d."),
    (r"fc_st\.", "stem.visual_3d."),
    (r"fc_fusion\.", "stem.fusion."),
    (r"fc_l\.", "label_projection."),
    (r"fc_la\.", "audio_decoder.video_head."),
    (r"fc_lv\.", "visual_decoder.video_head."),
    (r"MMP\.capture\.msa\.(\d+)\.asablock\.layer\.", r"encoder.levels.\1.audio_self."),
    (r"MMP\.capture\.msa\.(\d+)\.vsablock\.layer\.", r"encoder.levels.\1.visual_self."),
    (r"MMP\.capture\.msa\.(\d+)\.cmablock\.layer\.", r"encoder.levels.\1.cross."),
    (r"MMP\.capture\.msa\.(\d+)\.la1\.", r"encoder.levels.\1.audio_gate.self_gate."),
    (r"MMP\.capture\.msa\.(\d+)\.la2\.", r"encoder.levels.\1.audio_gate.cross_gate."),
    (r"MMP\.capture\.msa\.(\d+)\.lv1\.", r"encoder.levels.\1.visual_gate.self_gate."),
    (r"MMP\.capture\.msa\.(\d+)\.lv2\.", r"encoder.levels.\1.visual_gate.cross_gate."),
    (r"MMP\.capture\.anetwork\.(\d+)\.net\.0\.", r"encoder.levels.\1.audio_conv.wide."),
    (r"MMP\.capture\.anetwork\.(\d+)\.net\.2\.", r"encoder.levels.\1.audio_conv.point."),
    (r"MMP\.capture\.vnetwork\.(\d+)\.net\.0\.", r"encoder.levels.\1.visual_conv.wide."),
    (r"MMP\.capture\.vnetwork\.(\d+)\.net\.2\.", r"encoder.levels.\1.visual_conv.point."),
    (r"MMP\.fusion\.aadaptiveinteraction\.", "encoder.audio_fusion.interaction."),
    (r"MMP\.fusion\.vadaptiveinteraction\.", "encoder.visual_fusion.interaction."),
    (r"MMP\.fusion\.aselectfusion\.", "encoder.audio_fusion.select."),
    (r"MMP\.fusion\.vselectfusion\.", "encoder.visual_fusion.select."),
    (r"AVL\.la_cma_network\.(\d+)\.", r"audio_decoder.blocks.\1."),
    (r"AVL\.lv_cma_network\.(\d+)\.", r"visual_decoder.blocks.\1."),
)
# Stored by the published modules, never read by their forward pass: templates that were copied, and a norm.
_LEAP_DEAD = re.compile(r"(MMP\.capture|MMP\.fusion|AVL)\.(multiheadattn|feedforward)\.|.*\.self_attn\.layer_norm\.")
# The convolutions are stored twice, under a second name for the same tensor.
_LEAP_TWIN = re.compile(r"(MMP\.capture\.[av]network\.\d+\.)conv([12])\.")


def _rename_leap(key: str) -> str | None:
    """Our name of a published LEAP key, or None for a key that the forward pass never reads."""
    if _LEAP_DEAD.match(key) or _LEAP_TWIN.match(key):
        return None
    for pattern, place in _LEAP:
        renamed, hits = re.subn(f"^{pattern}", place, key)
        if hits:
            break
    else:
        raise ValueError(f"not a key of the published MM-Pyr + LEAP: {key}")
    for pattern, name in _LAYER:
        renamed = re.sub(pattern, name, renamed)
    return renamed


def _load_leap(
    state: Mapping[str, Tensor], label_embeddings: Tensor, labels: Sequence[str], heads: int, leap_heads: int
) -> AVParser:
    renamed: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, tensor in state.items():
        name = _rename_leap(key)
        if name is None:
            unused.append(key)
        else:
            renamed[name] = tensor
    for key in unused:
        twin = _LEAP_TWIN.sub(lambda m: f"{m[1]}net.{2 * (int(m[2]) - 1)}.", key)
        if twin != key and twin in state and not torch.equal(state[key], state[twin]):
            raise ValueError(f"{key} and {twin} name one tensor in the published program but differ in this file")
    try:
        config = _read_leap_config(renamed, labels, heads, leap_heads)
    except KeyError as error:
        raise ValueError(f"the file does not hold a published MM-Pyr + LEAP: no tensor for {error}") from error
    parser = build_parser(config, label_embeddings)
    missing, unexpected = parser.load_state_dict(renamed, strict=False)
    missing = [key for key in missing if key != "label_embeddings"]
    if missing or unexpected:
        raise ValueError(f"the file does not fit MM-Pyr + LEAP: missing {missing}, unexpected {unexpected}")
    parser.unused_keys = tuple(unused)
    return parser.eval()


def _read_leap_config(
    renamed: Mapping[str, Tensor], labels: Sequence[str], heads: int, leap_heads: int
) -> ParserConfig:
    hidden, audio_dim = renamed["stem.audio.weight"].shape
    return ParserConfig(
        labels=tuple(labels),
        audio_dim=audio_dim,
        visual_2d_dim=renamed["stem.visual_2d.weight"].shape[1],
        visual_3d_dim=renamed["stem.visual_3d.weight"].shape[1],
        hidden_dim=hidden,
        feedforward_dim=renamed["encoder.audio_fusion.interaction.feedforward.0.weight"].shape[0],
        heads=heads,
        levels=_count(renamed, r"encoder\.levels\.(\d+)\."),
        label_embedding_dim=renamed["label_projection.weight"].shape[1],
        leap_blocks=_count(renamed, r"audio_decoder\.blocks\.(\d+)\."),
        leap_heads=leap_heads,
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(match[1]) for key in state if (match := re.match(pattern, key))), default=0)


FAMILIES: dict[str, Callable[..., AVParser]] = {"leap": _load_leap}


def load_published(
    state_dict: Mapping[str, Tensor],
    *,
    family: str,
    label_embeddings: Tensor | None = None,
    labels: Sequence[str] = LLP_LABELS,
    heads: int = 8,
    leap_heads: int = 8,
) -> AVParser:
    """A parser in eval mode that computes what the published program computes with this file.

    state_dict: the published file's keys, unchanged (a leading ``module.`` of data-parallel training is dropped).
    family: "leap" (MM-Pyr + LEAP, github.com/jasongief/LEAP). label_embeddings: (C, W), for leap.
    Widths, levels and blocks are read off the tensors; head counts leave no trace in them and are arguments.
    Keys that the published forward pass never reads are listed in the parser's `unused_keys`.
    Raises ValueError for an unknown family, a foreign or missing key, or a tensor of another shape.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    if label_embeddings is None:
        raise ValueError("family 'leap' needs label_embeddings (C, W)")
    state = {key.removeprefix("module."): tensor for key, tensor in state_dict.items()}
    try:
        return FAMILIES[family](state, label_embeddings, labels, heads, leap_heads)
    except RuntimeError as error:  # torch's word for tensors of another shape
        raise ValueError(f"the file does not fit: {error}") from error
