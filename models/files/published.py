"""Load weight files published by the authors of LEAP, MM-Pyr, HAN and VALOR, with their original keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...weights.messages import shown, shown_name
from ...weights.parameters import check_parameters
from ..config import ParserConfig
from ..labels import LLP_LABELS
from ..parser import AVParser, parser_shapes, restore_parser

Rules = tuple[tuple[str, str], ...]  # (regular expression at the start of a published key, its replacement here)

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
# Names inside an attention layer, replaced wherever such a layer occurs.
_ATTENTION: Rules = (
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
# norms; and convolutions stored twice, under two names of the same tensor.
_MMPYR_UNUSED = r"(MMP\.capture|MMP\.fusion|AVL)\.(multiheadattn|feedforward)\.|.*\.self_attn\.layer_norm\."
_HAN_UNUSED = r"(audio|visual|cmt)_encoder\.|hat_encoder\.(norm[12]|final_norm_[av])\."
_ALIAS = re.compile(r"(MMP\.capture\.[av]network\.\d+\.)conv([12])\.")
_PACKED_QKV = re.compile(r"(.*\.)in_proj_(weight|bias)")  # query, key and value in one tensor


@dataclass(frozen=True)
class Family:
    """A published program: how its keys map to this program's, and settings that its files do not hold.

    Attributes:
        name: for messages.
        rules: key mapping; the first rule that matches applies.
        unused: keys that the published forward pass never reads.
        settings: fields of `ParserConfig`.
    """

    name: str
    rules: Rules
    unused: re.Pattern[str]
    settings: dict[str, Any]

    @property
    def is_leap(self) -> bool:
        """Whether the decoder is LEAP."""
        return self.settings["decoder"] == "leap"

    def map_key(self, key: str) -> str | None:
        """Return the name of a published key in `AVParser`.

        Args:
            key: as published, without a ``module.`` prefix.

        Returns:
            The name, or None for a key that the published forward pass never reads.

        Raises:
            ValueError: the key does not occur in the published program.
        """
        if self.unused.match(key) or _ALIAS.match(key):
            return None
        for pattern, replacement in self.rules:
            mapped, matches = re.subn(f"^{pattern}", replacement, key)
            if matches:
                for inner_pattern, inner_replacement in _ATTENTION:
                    mapped = re.sub(inner_pattern, inner_replacement, mapped)
                return mapped
        raise ValueError(f"not a key of the published {self.name}: {shown_name(key)}")


_MMPYR_SETTINGS = {"encoder": "mmpyr", "heads": 8, "dropout": 0.2, "attention_dropout": 0.1}
_HAN_SETTINGS = {"encoder": "han", "decoder": "mmil", "dropout": 0.1, "attention_dropout": 0.1}
FAMILIES = {
    "leap": Family(
        "MM-Pyr + LEAP", _STEM + _MMPYR + _LEAP, re.compile(_MMPYR_UNUSED), {**_MMPYR_SETTINGS, "decoder": "leap"}
    ),
    "mmpyr": Family(
        "MM-Pyr + MMIL", _STEM + _MMPYR + _MMIL, re.compile(_MMPYR_UNUSED), {**_MMPYR_SETTINGS, "decoder": "mmil"}
    ),
    "han": Family("HAN + MMIL", _STEM + _HAN + _MMIL, re.compile(_HAN_UNUSED), {**_HAN_SETTINGS, "heads": 1}),
    "valor": Family(
        "VALOR's HAN + MMIL",
        _STEM + _HAN + _MMIL,
        re.compile(_HAN_UNUSED),
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
    """Build a parser from a published state dict; it computes what the published program computes.

    Widths and the numbers of levels, layers and blocks are read from the shapes of the tensors.

    Args:
        state_dict: tensors under the published keys; the prefix ``module.`` of data-parallel training is removed.
        family: "leap" (MM-Pyr + LEAP), "mmpyr" (MM-Pyr + MMIL), "han" or "valor"; see Source.
        label_embeddings: (C, W) float, for the family leap only.
        labels: C class names, in the order of the class axis.
        heads: attention heads of the encoder, which no shape shows; the family's published number when None.
        leap_heads: attention heads of the LEAP blocks.
        swap_modalities: for the family mmpyr only. Its program stacks visual before audio and then reads the first as
            audio; True (also the meaning of None) does the same, False reads each stream as what it is.

    Returns:
        The parser in eval mode. Its `unused_keys` are the keys that the published forward pass never reads.

    Raises:
        ValueError: the family is unknown, an argument is missing or not for this family, a key is unknown or missing,
            or a tensor has the wrong shape, another type than float32, or values that are not finite.

    Source:
        leap: github.com/jasongief/LEAP; mmpyr: github.com/JustinYuu/MM_Pyramid;
        han: github.com/YapengTian/AVVP-ECCV20; valor: github.com/Franklin905/VALOR.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    published = FAMILIES[family]
    if published.is_leap and label_embeddings is None:
        raise ValueError("family 'leap' needs label_embeddings (C, W)")
    if swap_modalities is not None and family != "mmpyr":
        raise ValueError("swap_modalities is for family 'mmpyr'")
    settings = {"labels": tuple(labels), "leap_heads": leap_heads, **published.settings}
    if heads is not None:
        settings["heads"] = heads
    settings["swap_modalities"] = family == "mmpyr" and swap_modalities is not False
    state = {key.removeprefix("module."): tensor for key, tensor in state_dict.items()}
    return _load(published, state, settings, label_embeddings)


def _unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the query, key and value that torch's own attention stores in one tensor."""
    unpacked: dict[str, Tensor] = {}
    for key, tensor in state.items():
        packed = _PACKED_QKV.fullmatch(key)
        if packed is None:
            unpacked[key] = tensor
        elif tensor.ndim == 0 or len(tensor) % 3:
            raise ValueError(
                f"{shown_name(key)} is {tuple(tensor.shape)}, which cannot be split into query, key and value"
            )
        else:
            names = (f"{packed[1]}{part}.{packed[2]}" for part in ("query", "key", "value"))
            unpacked |= dict(zip(names, tensor.chunk(3), strict=True))
    return unpacked


def _load(
    family: Family, state: Mapping[str, Tensor], settings: dict[str, Any], label_embeddings: Tensor | None
) -> AVParser:
    mapped: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, tensor in state.items():
        name = family.map_key(key)
        if name is None:
            unused.append(key)
        else:
            # Convolutions along time are linear layers here: (out, in, kernel) -> (out, kernel * in).
            mapped[name] = tensor.permute(0, 2, 1).flatten(1) if tensor.ndim == 3 else tensor
    for key in unused:
        alias = _ALIAS.sub(lambda m: f"{m[1]}net.{2 * (int(m[2]) - 1)}.", key)
        if alias != key and alias in state and not _equal(state[key], state[alias]):
            raise ValueError(f"{key} and {alias} name one tensor in the published program but differ in this file")
    mapped = _unpack(mapped)
    try:
        config = ParserConfig(**settings, **_read_sizes(mapped, settings))
    except KeyError as error:
        raise ValueError(f"the file is not a published {family.name}: no tensor for {error}") from error
    if config.needs_label_embeddings and label_embeddings is not None:
        mapped["decoder.label_embeddings"] = _check_embeddings(label_embeddings, config)
    # Sizes and numbers are checked before anything is built.
    shapes = parser_shapes(config)
    missing, unexpected = (sorted(map(shown_name, keys)) for keys in (shapes.keys() - mapped, mapped.keys() - shapes))
    if missing or unexpected:
        raise ValueError(
            f"the file is not a published {family.name}: missing {shown(missing)}, unexpected {shown(unexpected)}"
        )
    for key, shape in shapes.items():
        if tuple(mapped[key].shape) != shape:
            found = tuple(mapped[key].shape)
            raise ValueError(f"tensors of the file have the wrong shape: size mismatch for {key}: {found}, not {shape}")
    check_parameters(mapped, shapes)
    # Copies: packed tensors, and those that a file stores once for two keys, must not change together in training.
    parser = restore_parser(config, {key: tensor.clone() for key, tensor in mapped.items()})
    parser.unused_keys = tuple(unused)
    return parser


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(first, second)


def _check_embeddings(vectors: Tensor, config: ParserConfig) -> Tensor:
    """Return label embeddings as float32. Raises ValueError for vectors of another shape or type."""
    expected = (len(config.labels), config.label_embedding_dim)
    if tuple(vectors.shape) != expected or not vectors.is_floating_point():
        found = f"{tuple(vectors.shape)} of {str(vectors.dtype).removeprefix('torch.')}"
        raise ValueError(f"label embeddings are {found}, expected {expected} of float32")
    return vectors.detach().float()


def _read_sizes(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `ParserConfig` that the shapes of the tensors determine."""
    hidden, audio_dim = _matrix(tensors, "stem.audio.weight")
    sizes = {
        "hidden_dim": hidden,
        "audio_dim": audio_dim,
        "visual_2d_dim": _matrix(tensors, "stem.visual_2d.weight")[1],
        "visual_3d_dim": _matrix(tensors, "stem.visual_3d.weight")[1],
    }
    if settings["encoder"] == "mmpyr":
        sizes["feedforward_dim"] = _matrix(tensors, "encoder.audio_fusion.interaction.feedforward.0.weight")[0]
        sizes["levels"] = _count(tensors, r"encoder\.levels\.(\d+)\.")
    else:
        sizes["feedforward_dim"] = _matrix(tensors, "encoder.layers.0.feedforward.0.weight")[0]
        sizes["layers"] = _count(tensors, r"encoder\.layers\.(\d+)\.")
    if settings["decoder"] == "leap":
        sizes["label_embedding_dim"] = _matrix(tensors, "decoder.label_projection.weight")[1]
        sizes["leap_blocks"] = _count(tensors, r"decoder\.audio\.blocks\.(\d+)\.")
    return sizes


def _matrix(tensors: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    """Return the shape of a matrix. Raises KeyError where it is missing, ValueError where it is none."""
    shape = tuple(tensors[key].shape)
    if len(shape) != 2:
        raise ValueError(f"tensors of the file have the wrong shape: size mismatch for {key}: {shape} is not a matrix")
    return shape


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many modules are numbered by the pattern's group: the largest number plus one."""
    return 1 + max((int(match[1]) for key in tensors if (match := re.match(pattern, key))), default=0)
