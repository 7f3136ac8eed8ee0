"""Parsers from weight files published by their authors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...weights.messages import shown, shown_name
from ..config import ParserConfig
from ..parser import AVParser, join_networks, parser_shapes, restore_parser
from .keys import Family, Rules, count_modules, read_matrix
from .published_groups import GROUP_FAMILIES, NETWORKS
from .published_han import CROSS_ATTENTION, CROSS_ATTENTION_FAMILIES, CROSS_ATTENTION_SETTINGS, HAN_FAMILIES, MMIL, STEM

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
# Names inside MM-Pyr's attention layers, replaced wherever such a layer occurs.
_ATTENTION: Rules = (
    (r"self_attn\.linears\.0\.", "attention.query."),
    (r"self_attn\.linears\.1\.", "attention.key."),
    (r"self_attn\.linears\.2\.", "attention.value."),
    (r"self_attn\.linears\.3\.", "attention.output."),
    (r"feed_forward\.w_1\.", "feedforward.0."),
    (r"feed_forward\.w_2\.", "feedforward.3."),
    (r"sublayer\.0\.norm\.", "attention_norm."),
    (r"sublayer\.1\.norm\.", "feedforward_norm."),
)
# Stored by the published modules, never read by their forward pass: templates that were copied, unused encoders,
# norms; and convolutions stored twice, under two names of the same tensor.
_ALIAS = re.compile(r"(MMP\.capture\.[av]network\.\d+\.)conv([12])\.")
_MMPYR_UNUSED = re.compile(
    rf"(MMP\.capture|MMP\.fusion|AVL)\.(multiheadattn|feedforward)\.|.*\.self_attn\.layer_norm\.|{_ALIAS.pattern}"
)

_MMPYR_SETTINGS = {"encoder": "mmpyr", "heads": 8, "dropout": 0.2, "attention_dropout": 0.1}
FAMILIES = {
    "leap": Family(
        "MM-Pyr + LEAP", STEM + _MMPYR + _LEAP, _MMPYR_UNUSED, {**_MMPYR_SETTINGS, "decoder": "leap"}, _ATTENTION
    ),
    "mmpyr": Family(
        "MM-Pyr + MMIL", STEM + _MMPYR + MMIL, _MMPYR_UNUSED, {**_MMPYR_SETTINGS, "decoder": "mmil"}, _ATTENTION
    ),
    **HAN_FAMILIES,
    **GROUP_FAMILIES,
}


def load_parser(
    state_dict: Mapping[str, Tensor],
    family: str,
    *,
    label_embeddings: Tensor | None,
    labels: Sequence[str],
    heads: int | None,
    leap_heads: int,
    swap_modalities: bool | None,
    cross_attention: bool | None = None,
) -> AVParser:
    """Build a parser from a published state dict.

    Args:
        state_dict: published key -> tensor, without ``module.`` prefixes; of dhhn also both networks.
        family: key of `FAMILIES`.
        label_embeddings: as for `load_published`, like all others.
        labels: C class names.
        heads: attention heads of the encoder.
        leap_heads: attention heads of the LEAP blocks.
        swap_modalities: for the family mmpyr only.
        cross_attention: for the families of `CROSS_ATTENTION_FAMILIES` only.

    Returns:
        The parser in eval mode.

    Raises:
        ValueError: as for `load_published`.
    """
    if family == "dhhn" and any(key.startswith(NETWORKS) for key in state_dict):
        networks = [
            load_parser(
                network,
                family,
                label_embeddings=label_embeddings,
                labels=labels,
                heads=heads,
                leap_heads=leap_heads,
                swap_modalities=swap_modalities,
                cross_attention=cross_attention,
            )
            for network in _split_networks(state_dict)
        ]
        parser = join_networks(networks[0], networks[1])
        named = zip(NETWORKS, networks, strict=True)
        parser.unused_keys = tuple(prefix + key for prefix, network in named for key in network.unused_keys)
        return parser
    published = FAMILIES[family]
    if published.settings["decoder"] == "leap" and label_embeddings is None:
        raise ValueError("family 'leap' needs label_embeddings (C, W)")
    if swap_modalities is not None and family != "mmpyr":
        raise ValueError("swap_modalities is for family 'mmpyr'")
    settings = {"labels": tuple(labels), "leap_heads": leap_heads, **published.settings}
    if heads is not None:
        settings["heads"] = heads
    settings["swap_modalities"] = family == "mmpyr" and swap_modalities is not False
    if cross_attention is not None:
        if family not in CROSS_ATTENTION_FAMILIES:
            raise ValueError(f"cross_attention is for the families {', '.join(CROSS_ATTENTION_FAMILIES)}")
        if type(cross_attention) is not bool:
            raise ValueError(f"cross_attention is {shown(cross_attention)}, expected True or False")
        settings |= CROSS_ATTENTION_SETTINGS[cross_attention]
        if not cross_attention:
            published = replace(published, unused=re.compile(f"{published.unused.pattern}|{CROSS_ATTENTION.pattern}"))
    mapped, unused = published.map_state(state_dict)
    for key in unused:
        alias = _ALIAS.sub(lambda m: f"{m[1]}net.{2 * (int(m[2]) - 1)}.", key)
        if alias != key and alias in state_dict and not _equal(state_dict[key], state_dict[alias]):
            raise ValueError(f"{key} and {alias} name one tensor in the published program but differ in this file")
    try:
        config = ParserConfig(**settings, **_read_sizes(mapped, settings))
    except KeyError as error:
        key = published.published_key(error.args[0])
        raise ValueError(f"the file is not a published {published.name}: no tensor {key!r}") from error
    if config.needs_label_embeddings and label_embeddings is not None:
        mapped["decoder.label_embeddings"] = _check_embeddings(label_embeddings, config)
    # Sizes and numbers are checked before anything is built.
    published.check(mapped, parser_shapes(config))
    # Copies: packed tensors, and those that a file stores once for two keys, must not change together in training.
    parser = restore_parser(config, {key: tensor.clone() for key, tensor in mapped.items()})
    parser.unused_keys = unused
    return parser


def _split_networks(state_dict: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the state dicts of DHHN's two networks. Raises ValueError for keys of neither, and if one is missing."""
    if others := [key for key in state_dict if not key.startswith(NETWORKS)]:
        raise ValueError(f"not a key of the published DHHN: {shown_name(others[0])}, without {' or '.join(NETWORKS)}")
    networks = [
        {
            key.removeprefix(prefix).removeprefix("module."): tensor
            for key, tensor in state_dict.items()
            if key.startswith(prefix)
        }
        for prefix in NETWORKS
    ]
    if not all(networks):
        raise ValueError(
            f"keys of DHHN have both of {' and '.join(NETWORKS)} as prefixes, or those of one network have none"
        )
    return networks


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
    sizes = _STEM_SIZES[settings.get("stem", "linear")](tensors, settings)
    if settings["encoder"] == "mmpyr":
        sizes["feedforward_dim"] = read_matrix(tensors, "encoder.audio_fusion.interaction.feedforward.0.weight")[0]
        sizes["levels"] = count_modules(tensors, r"encoder\.levels\.(\d+)\.")
    elif settings["encoder"] == "mgn":
        sizes["feedforward_dim"] = read_matrix(tensors, "encoder.audio.blocks.0.feedforward.0.weight")[0]
        sizes["group_blocks"] = count_modules(tensors, r"encoder\.audio\.blocks\.(\d+)\.")
        sizes["cross_group_blocks"] = count_modules(tensors, r"decoder\.blocks\.(\d+)\.")
        sizes["segments"] = read_matrix(tensors, "encoder.audio.regrouping.token_mixing.0.weight")[1]
    else:
        sizes["feedforward_dim"] = read_matrix(tensors, "encoder.layers.0.feedforward.0.weight")[0]
        sizes["layers"] = count_modules(tensors, r"encoder\.layers\.(\d+)\.")
    if settings["decoder"] == "leap":
        sizes["label_embedding_dim"] = read_matrix(tensors, "decoder.label_projection.weight")[1]
        sizes["leap_blocks"] = count_modules(tensors, r"decoder\.audio\.blocks\.(\d+)\.")
    elif settings["decoder"] == "classwise":
        sizes["class_dim"] = read_matrix(tensors, "decoder.audio_prob.weight")[1]
    return sizes


def _read_linear_stem(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    hidden, audio_dim = read_matrix(tensors, "stem.audio.weight")
    sizes = {
        "hidden_dim": hidden,
        "audio_dim": audio_dim,
        "visual_2d_dim": read_matrix(tensors, "stem.visual_2d.weight")[1],
    }
    if settings.get("visual_3d_dim") != 0:
        sizes["visual_3d_dim"] = read_matrix(tensors, "stem.visual_3d.weight")[1]
    return sizes


def _read_mlp_stem(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of a stem that reads both visual streams side by side; no shape tells where they meet."""
    inner, audio_dim = read_matrix(tensors, "stem.audio.0.weight")
    hidden, visual_dim = read_matrix(tensors, "stem.visual.weight")
    return {
        "hidden_dim": hidden,
        "stem_hidden_dim": inner,
        "audio_dim": audio_dim,
        "visual_2d_dim": visual_dim - settings["visual_3d_dim"],
    }


_STEM_SIZES = {"linear": _read_linear_stem, "elu": _read_linear_stem, "mlp": _read_mlp_stem}
