"""Loading the weight files that the authors published, keys unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .config import ParserConfig
from .labels import LLP_LABELS
from .parser import AVParser, build_parser

Rules = tuple[tuple[str, str], ...]  # a published place, matched from the start of the key, and ours

_STEM: Rules = (
    (r"fc_a\.", "stem.audio."),
    (r"fc_v\.", "stem.visual_2d."),
    (r"fc_st\.", "stem.visual_3d."),
    (r"fc_fusion\.", "stem.fusion."),
)
_MMIL: Rules = (
    (r"fc_prob\.", "decoder.prob."),
    (r"fc_frame_att\.", "decoder.frame_attention."),
    (r"fc_av_att\.", "decoder.modality_attention."),
)
_LEAP: Rules = (
    (r"fc_l\.", "decoder.label_projection."),
    (r"fc_la\.", "decoder.audio.video_head."),
    (r"fc_lv\.", "decoder.visual.video_head."),
    (r"AVL\.la_cma_network\.(\d+)\.", r"decoder.audio.blocks.\1."),
    (r"AVL\.lv_cma_network\.(\d+)\.", r"decoder.visual.blocks.\1."),
)
_MMPYR: Rules = (
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
)
_HAN: Rules = (
    (r"hat_encoder\.layers\.(\d+)\.self_attn\.", r"encoder.layers.\1.within."),
    (r"hat_encoder\.layers\.(\d+)\.cm_attn\.", r"encoder.layers.\1.across."),
    (r"hat_encoder\.layers\.(\d+)\.linear1\.", r"encoder.layers.\1.feedforward.0."),
    (r"hat_encoder\.layers\.(\d+)\.linear2\.", r"encoder.layers.\1.feedforward.3."),
    (r"hat_encoder\.layers\.(\d+)\.norm1\.", r"encoder.layers.\1.attention_norm."),
    (r"hat_encoder\.layers\.(\d+)\.norm2\.", r"encoder.layers.\1.feedforward_norm."),
)
# Names inside an attention layer, wherever it stands.
_INSIDE: Rules = (
    (r"self_attn\.linears\.0\.", "attention.query."),
    (r"self_attn\.linears\.1\.", "attention.key."),
    (r"self_attn\.linears\.2\.", "attention.value."),
    (r"self_attn\.linears\.3\.", "attention.output."),
    (r"feed_forward\.w_1\.", "feedforward.0."),
    (r"feed_forward\.w_2\.", "feedforward.3."),
    (r"sublayer\.0\.norm\.", "attention_norm."),
    (r"sublayer\.1\.norm\.", "feedforward_norm."),
    (r"out_proj\.", "output."),
)
# Stored by the published modules, never read by their forward pass: templates that were copied, unused encoders,
# norms; and convolutions stored a second time, under another name for the same tensor.
_MMPYR_DEAD = r"(MMP\.capture|MMP\.fusion|AVL)\.(multiheadattn|feedforward)\.|.*\.self_attn\.layer_norm\."
_HAN_DEAD = r"(audio|visual|cmt)_encoder\.|hat_encoder\.(norm[12]|final_norm_[av])\."
_TWIN = re.compile(r"(MMP\.capture\.[av]network\.\d+\.)conv([12])\.")
_PACKED = re.compile(r"(.*\.)in_proj_(weight|bias)")  # query, key and value in one tensor


@dataclass(frozen=True)
class Family:
    """One published program: where its tensors stand in ours, and what its files do not say."""

    name: str
    rules: Rules
    dead: re.Pattern[str]
    settings: dict[str, Any]  # of ParserConfig

    @property
    def is_leap(self) -> bool:
        return self.settings["decoder"] == "leap"

    def place(self, key: str) -> str | None:
        """Our name of a published key, or None for one that the forward pass never reads."""
        if self.dead.match(key) or _TWIN.match(key):
            return None
        for pattern, place in self.rules:
            renamed, hits = re.subn(f"^{pattern}", place, key)
            if hits:
                for inside, ours in _INSIDE:
                    renamed = re.sub(inside, ours, renamed)
                return renamed
        raise ValueError(f"not a key of the published {self.name}: {key}")


_MMPYR_SETTINGS = {"encoder": "mmpyr", "heads": 8, "dropout": 0.2, "attention_dropout": 0.1}
_HAN_SETTINGS = {"encoder": "han", "decoder": "mmil", "dropout": 0.1, "attention_dropout": 0.1}
FAMILIES = {
    "leap": Family(
        "MM-Pyr + LEAP", _STEM + _MMPYR + _LEAP, re.compile(_MMPYR_DEAD), {**_MMPYR_SETTINGS, "decoder": "leap"}
    ),
    "mmpyr": Family(
        "MM-Pyr + MMIL", _STEM + _MMPYR + _MMIL, re.compile(_MMPYR_DEAD), {**_MMPYR_SETTINGS, "decoder": "mmil"}
    ),
    "han": Family("HAN + MMIL", _STEM + _HAN + _MMIL, re.compile(_HAN_DEAD), {**_HAN_SETTINGS, "heads": 1}),
    "valor": Family(
        "VALOR's HAN + MMIL",
        _STEM + _HAN + _MMIL,
        re.compile(_HAN_DEAD),
        {**_HAN_SETTINGS, "heads": 8, "han_order": "sequential"},
    ),
}


def load_published(
    state_dict: Mapping[str, Tensor],
    *,
    family: str,
    label_embeddings: Tensor | None = None,
    labels: Sequence[str] = LLP_LABELS,
    heads: int | None = None,
    leap_heads: int = 8,
    swap_modalities: bool | None = None,
) -> AVParser:
    """A parser in eval mode that computes what the published program computes with this file.

    state_dict: the published file's keys, unchanged (a leading ``module.`` of data-parallel training is dropped).
    family: "leap" (MM-Pyr + LEAP, github.com/jasongief/LEAP), "mmpyr" (MM-Pyr + MMIL, github.com/JustinYuu/MM_Pyramid),
    "han" (github.com/YapengTian/AVVP-ECCV20), "valor" (github.com/Franklin905/VALOR). label_embeddings: (C, W), for
    leap. Widths, levels, layers and blocks are read off the tensors; head counts leave no trace in them and are
    arguments. swap_modalities, for mmpyr: its program stacks visual before audio and then reads the first as audio;
    True (the default there) does the same, False reads each stream under its own name. Keys that the published
    forward pass never reads are listed in the parser's `unused_keys`.
    Raises ValueError for an unknown family, a foreign or missing key, or a tensor of another shape.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    chosen = FAMILIES[family]
    if chosen.is_leap and label_embeddings is None:
        raise ValueError("family 'leap' needs label_embeddings (C, W)")
    if swap_modalities is not None and family != "mmpyr":
        raise ValueError("swap_modalities is for family 'mmpyr'")
    settings = {"labels": tuple(labels), "leap_heads": leap_heads, **chosen.settings}
    if heads is not None:
        settings["heads"] = heads
    settings["swap_modalities"] = family == "mmpyr" and swap_modalities is not False
    state = {key.removeprefix("module."): tensor for key, tensor in state_dict.items()}
    try:
        return _load(chosen, state, settings, label_embeddings)
    except RuntimeError as error:  # torch's word for tensors of another shape
        raise ValueError(f"the file does not fit: {error}") from error


def _unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split what torch's own attention stores packed, so that every name stands for one tensor."""
    unpacked: dict[str, Tensor] = {}
    for key, tensor in state.items():
        packed = _PACKED.fullmatch(key)
        if packed is None:
            unpacked[key] = tensor
        elif tensor.ndim == 0 or len(tensor) % 3:
            raise ValueError(f"{key} is {tuple(tensor.shape)}, which does not hold query, key and value")
        else:
            names = (f"{packed[1]}{part}.{packed[2]}" for part in ("query", "key", "value"))
            unpacked |= dict(zip(names, tensor.chunk(3), strict=True))
    return unpacked


def _load(
    family: Family, state: Mapping[str, Tensor], settings: dict[str, Any], label_embeddings: Tensor | None
) -> AVParser:
    placed: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, tensor in state.items():
        name = family.place(key)
        if name is None:
            unused.append(key)
        else:
            # Convolutions along time are linear layers here: (out, in, kernel) -> (out, kernel * in).
            placed[name] = tensor.permute(0, 2, 1).flatten(1) if tensor.ndim == 3 else tensor
    for key in unused:
        twin = _TWIN.sub(lambda m: f"{m[1]}net.{2 * (int(m[2]) - 1)}.", key)
        if twin != key and twin in state and not torch.equal(state[key], state[twin]):
            raise ValueError(f"{key} and {twin} name one tensor in the published program but differ in this file")
    placed = _unpack(placed)
    try:
        config = ParserConfig(**settings, **_read_sizes(placed, settings))
    except KeyError as error:
        raise ValueError(f"the file does not hold a published {family.name}: no tensor for {error}") from error
    parser = build_parser(config, label_embeddings)
    missing, unexpected = parser.load_state_dict(placed, strict=False)
    missing = [key for key in missing if key != "decoder.label_embeddings"]
    if missing or unexpected:
        raise ValueError(f"the file does not fit {family.name}: missing {missing}, unexpected {unexpected}")
    parser.unused_keys = tuple(unused)
    return parser.eval()


def _read_sizes(placed: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the shapes of the tensors say about the architecture."""
    hidden, audio_dim = placed["stem.audio.weight"].shape
    sizes = {
        "hidden_dim": hidden,
        "audio_dim": audio_dim,
        "visual_2d_dim": placed["stem.visual_2d.weight"].shape[1],
        "visual_3d_dim": placed["stem.visual_3d.weight"].shape[1],
    }
    if settings["encoder"] == "mmpyr":
        sizes["feedforward_dim"] = len(placed["encoder.audio_fusion.interaction.feedforward.0.weight"])
        sizes["levels"] = _count(placed, r"encoder\.levels\.(\d+)\.")
    else:
        sizes["feedforward_dim"] = len(placed["encoder.layers.0.feedforward.0.weight"])
        sizes["layers"] = _count(placed, r"encoder\.layers\.(\d+)\.")
    if settings["decoder"] == "leap":
        sizes["label_embedding_dim"] = placed["decoder.label_projection.weight"].shape[1]
        sizes["leap_blocks"] = _count(placed, r"decoder\.audio\.blocks\.(\d+)\.")
    return sizes


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(match[1]) for key in state if (match := re.match(pattern, key))), default=0)
