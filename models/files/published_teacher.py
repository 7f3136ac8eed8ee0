"""Temporal teachers from the weight files of UWAV's program."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..teacher import TeacherConfig, TemporalTeacher, restore_teacher, teacher_shapes
from .keys import Family, Rules, check_state, count_modules, read_matrix

_SCALES = {"audio": "a_logit_scale", "visual": "v_logit_scale"}


def _rules(letter: str, modality: str) -> Rules:
    encoder = rf"{letter}_transformer\.encoder\.layers\.(\d+)\."
    layer = rf"{modality}.layers.\1."
    return (
        (rf"proj_{letter}\.layers\.0\.", f"{modality}.stem.0."),
        (rf"proj_{letter}\.layers\.1\.", f"{modality}.stem.2."),
        (rf"{encoder}self_attn\.", f"{layer}attention."),
        (rf"{encoder}linear1\.", f"{layer}feedforward.0."),
        (rf"{encoder}linear2\.", f"{layer}feedforward.3."),
        (rf"{encoder}norm1\.", f"{layer}attention_norm."),
        (rf"{encoder}norm2\.", f"{layer}feedforward_norm."),
        (rf"final_proj_{letter}\.layers\.0\.", f"{modality}.head.0."),
        (rf"final_proj_{letter}\.layers\.1\.", f"{modality}.head.2."),
    )


_FAMILY = Family(
    "temporal teacher of UWAV",
    _rules("a", "audio") + _rules("v", "visual"),
    re.compile(r"$^"),
    inner=((r"out_proj\.", "output."),),
)


def load_published_teacher(
    state_dict: Mapping[str, Tensor],
    *,
    labels: Sequence[str],
    text: Tensor,
    heads: int = 16,
    segments: int = 60,
) -> TemporalTeacher:
    """Build a temporal teacher from a published state dict; it computes what the published program computes.

    Widths and the number of layers are read from the shapes of the tensors, the scales of the logits from their values.

    Args:
        state_dict: tensors under the published keys; the prefix ``module.`` of data-parallel training is removed.
        labels: C class names; the file does not depend on them.
        text: (C, A + V) float, their text features, CLAP's and after them CLIP's, each of length 1.
        heads: attention heads, which no shape shows.
        segments: T, seconds in a window; 60 are the longest videos of UnAV-100, on which UWAV's teacher was trained.

    Returns:
        The teacher in eval mode.

    Raises:
        ValueError: a key is unknown or missing, or a tensor has the wrong shape, another type than float32, or values
            that are not finite; or labels and text features do not fit.

    Source:
        UWAV's program (Lai et al., CVPR 2025).
    """
    state = check_state(state_dict)
    scales = {modality: _read_scale(state, key) for modality, key in _SCALES.items()}
    tensors, _ = _FAMILY.map_state({key: tensor for key, tensor in state.items() if key not in _SCALES.values()})
    try:
        hidden_dim, audio_dim = read_matrix(tensors, "audio.stem.2.weight")[0], read_matrix(tensors, _input("audio"))[1]
        visual_dim = read_matrix(tensors, _input("visual"))[1]
        feedforward_dim = read_matrix(tensors, "audio.layers.0.feedforward.0.weight")[0]
    except KeyError as error:
        raise ValueError(f"the file is not a published {_FAMILY.name}: no {error}") from error
    config = TeacherConfig(
        labels=tuple(labels),
        audio_dim=audio_dim,
        visual_dim=visual_dim,
        hidden_dim=hidden_dim,
        feedforward_dim=feedforward_dim,
        layers=count_modules(tensors, r"audio\.layers\.(\d+)\."),
        heads=heads,
        audio_scale=scales["audio"],
        visual_scale=scales["visual"],
        segments=segments,
    )
    expected = (len(config.labels), audio_dim + visual_dim)
    if tuple(text.shape) != expected:
        raise ValueError(f"text features are {tuple(text.shape)}, expected {expected}")
    own = text.float()
    tensors |= {
        "audio_text": own[:, :audio_dim].contiguous(),
        "visual_text": own[:, audio_dim:].contiguous(),
    }
    _FAMILY.check(tensors, teacher_shapes(config))
    return restore_teacher(config, tensors)


def _input(modality: str) -> str:
    return f"{modality}.stem.0.weight"


def _read_scale(state: Mapping[str, Tensor], key: str) -> float:
    """Return the scale of a modality's logits, a scalar of the file. Raises ValueError."""
    tensor = state.get(key)
    if tensor is None or tensor.numel() != 1 or tensor.dtype is not torch.float32:
        found = "missing" if tensor is None else f"{tuple(tensor.shape)} of {tensor.dtype}"
        raise ValueError(f"the file is not a published {_FAMILY.name}: {key} is {found}, expected a scalar of float32")
    return float(tensor)
