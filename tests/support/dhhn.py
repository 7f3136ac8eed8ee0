"""The three networks of DHHN's published training, with this program's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from avvp.models import load_published

from support.golden import fill, load_json

SCALED: dict[str, Any] = {"encoder": "han", "decoder": "mmil", "scales": 3, "heads": 1}
# Settings of `tiny_parser` for the published sizes, with guides and without anything random.
GUIDED: dict[str, Any] = {
    **SCALED, "audio_dim": 128, "visual_2d_dim": 2048, "visual_3d_dim": 512, "hidden_dim": 512, "feedforward_dim": 512,
    "guides": True, "dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip


def training_state() -> Mapping[str, torch.Tensor]:
    """The three networks of the published training, filled by key name, with this program's names."""
    shapes = load_json("dhhn_official.json")
    one = {key.removeprefix("audio_net."): shape for key, shape in shapes["state_dict"].items()}
    network = _filled({key: shape for key, shape in one.items() if "video_net." not in key}, "co_model.")
    state = dict(load_published(network, family="dhhn").state_dict())
    for guide, published in (("audio", "audio_model"), ("visual", "video_model")):
        for key, tensor in _filled(shapes[f"state_dict_{published}"], f"{published}.").items():
            state |= _guide_tensors(f"guides.{guide}.", key, tensor)
    return state


def _filled(shapes: Mapping[str, list[int]], prefix: str) -> dict[str, torch.Tensor]:
    full = fill({prefix + key: tuple(shape) for key, shape in shapes.items()})
    return {key.removeprefix(prefix): tensor for key, tensor in full.items()}


def _guide_tensors(prefix: str, key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    names = {
        "fc_a": "projection", "fc_v": "visual_2d", "fc_st": "visual_3d", "fc_fusion": "fusion", "fc_prob": "prob",
        "fc_frame_att": "frame_attention", "audio_encoder.": "", "self_attn.out_proj": "within.output",
        "linear1": "feedforward.0", "linear2": "feedforward.3", "norm1": "attention_norm", "norm2": "feedforward_norm",
    }  # fmt: skip
    for old, new in names.items():
        key = key.replace(old, new)
    if "in_proj_" not in key:
        return {prefix + key: tensor}
    start, kind = key.split("self_attn.in_proj_")
    parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
    return {f"{prefix}{start}within.{part}.{kind}": value for part, value in parts}
