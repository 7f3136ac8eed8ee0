"""Localizers from weight files published by the authors of AVE, PSP, CMBS and CPSP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..localizers.config import LocalizerConfig
from ..localizers.localizer import EventLocalizer, localizer_shapes, restore_localizer
from .keys import Family, Rules, count_modules, read_matrix

_LSTM: Rules = (
    (r"\.(weight|bias)_(ih|hh)_l0$", r".onward.\1_\2_l0"),
    (r"\.(weight|bias)_(ih|hh)_l0_reverse$", r".reverse.\1_\2_l0"),
)
_AFFINE: Rules = (
    (r"affine_video\.", "encoder.attention.map_projection."),
    (r"affine_audio\.", "encoder.attention.audio_projection."),
    (r"affine_v\.", "encoder.attention.map_scores."),
    (r"affine_g\.", "encoder.attention.audio_scores."),
    (r"affine_h\.", "encoder.attention.score."),
)
_CLASSIFIER: Rules = ((r"L1\.", "decoder.hidden."), (r"L2\.", "decoder.output."))
_AVE: Rules = (
    (r"lstm_audio\.", "encoder.audio_lstm."),
    (r"lstm_video\.", "encoder.visual_lstm."),
    *_AFFINE,
    *_CLASSIFIER,
)
_DMRN: Rules = ((r"U_a\.", "encoder.audio_residual."), (r"U_v\.", "encoder.visual_residual."), *_AVE)
_PSP: Rules = (
    *((rf"attention\.{pattern}", name) for pattern, name in _AFFINE),
    (r"lstm_a_v\.lstm_audio\.", "encoder.audio_lstm."),
    (r"lstm_a_v\.lstm_video\.", "encoder.visual_lstm."),
    (r"psp\.v_L([12])\.", r"encoder.propagation.layers.visual_\1."),
    (r"psp\.a_L([12])\.", r"encoder.propagation.layers.audio_\1."),
    (r"psp\.layer_norm\.", "encoder.propagation.norm."),
)
_PSP_FULL: Rules = (
    (r"fa\.", "encoder.audio_projection."),
    (r"fv\.", "encoder.visual_projection."),
    (r"psp\.v_fc\.", "encoder.propagation.layers.visual_output."),
    (r"psp\.a_fc\.", "encoder.propagation.layers.audio_output."),
    *_PSP,
)
_PSP_WEAK: Rules = (
    (r"linear_v\.", "encoder.visual_projection."),
    (r"W3\.", "readout.weight."),
    *_PSP,
    *_CLASSIFIER,
)
_CPSP: Rules = (
    (r"event_classifier\.0\.", "decoder.event."),
    (r"category_classifier\.0\.", "decoder.category."),
    *_PSP_FULL,
)
_MAP_ATTENTION = {
    "affine_video_1": "channel_map",
    "affine_audio_1": "channel_audio",
    "affine_bottleneck": "channel_bottleneck",
    "affine_v_c_att": "channel_score",
    "affine_video_2": "position_map",
    "affine_audio_2": "position_audio",
    "affine_v_s_att": "position_score",
    "video_query": "query",
    "video_key": "key",
    "video_value": "value",
    "affine_video_ave": "own_mean",
    "affine_video_3": "own_map",
    "ave_v_att": "own_score",
    "norm": "norm",
}
_CMBS: Rules = (
    *((rf"spatial_channel_att\.{key}\.", f"encoder.attention.{name}.") for key, name in _MAP_ATTENTION.items()),
    (r"v_fc\.", "encoder.map_projection."),
    (r"audio_encoder\.encoder\.layers\.(\d+)\.", r"encoder.audio_encoder.layers.\1."),
    (r"video_encoder\.encoder\.layers\.(\d+)\.", r"encoder.visual_encoder.layers.\1."),
    (r"audio_decoder\.decoder\.layers\.0\.", "encoder.audio_decoder.layer."),
    (r"video_decoder\.decoder\.layers\.0\.", "encoder.visual_decoder.layer."),
    (r"audio_(en|de)coder\.affine_matrix\.", r"encoder.audio_\1coder.projection."),
    (r"video_(en|de)coder\.affine_matrix\.", r"encoder.visual_\1coder.projection."),
    (r"AVInter\.norm1\.", "encoder.visual_interaction.norm."),
    (r"AVInter\.", "encoder.visual_interaction."),
    (r"VAInter\.norm1\.", "encoder.audio_interaction.norm."),
    (r"VAInter\.", "encoder.audio_interaction."),
    (r"audio_cas\.", "encoder.audio_classes."),
    (r"video_cas\.", "encoder.visual_classes."),
)
_CMBS_FULL: Rules = (
    (r"audio_visual_rnn_layer\.audio_rnn\.", "encoder.audio_lstm."),
    (r"audio_visual_rnn_layer\.visual_rnn\.", "encoder.visual_lstm."),
    (r"audio_gated\.0\.", "encoder.audio_gate."),
    (r"video_gated\.0\.", "encoder.visual_gate."),
    (r"localize_module\.classifier\.", "decoder.event."),
    (r"localize_module\.event_classifier\.", "decoder.category."),
    *_CMBS,
)
_CMBS_WEAK: Rules = (
    (r"audio_gated\.0\.", "encoder.visual_gate."),  # its input is the visual encoding, whatever its name
    (r"video_gated\.0\.", "encoder.audio_gate."),
    (r"CAS_model\.classifier\.0\.", "decoder.output."),
    *_CMBS,
)
_CMBS_INNER: Rules = (
    (r"(self_attn|multihead_attn|video_multihead)\.", "attention."),
    (r"out_proj\.", "output."),
    (r"linear1\.", "feedforward.0."),
    (r"linear2\.", "feedforward.3."),
    (r"norm1\.", "attention_norm."),
    (r"norm2\.", "feedforward_norm."),
    *_LSTM,
)
_NOTHING = re.compile(r"(?!)")
_PSP_UNUSED = r"linear_v\.|[av]_classify\.|"
# Templates of layers, which were copied; attention of decoders, which is not called; norms and classifiers.
_CMBS_UNUSED = (
    r"(audio|video)_(encoder\.encoder|decoder\.decoder)_layer\.|(audio|video)_decoder\.decoder\.layers\.\d+\.self_attn\.|"
    r"spatial_channel_att\.ave_bottleneck\.|"
)

# (system, supervision) -> its program
FAMILIES: dict[tuple[str, str], Family] = {
    ("ave", "full"): Family("AVE attention network", _AVE, _NOTHING, inner=_LSTM),
    ("ave", "weak"): Family("weak AVE attention network", _AVE, _NOTHING, inner=_LSTM),
    ("dmrn", "full"): Family("DMRN", _DMRN, _NOTHING, inner=_LSTM),
    ("psp", "full"): Family("PSP", _PSP_FULL + _CLASSIFIER, re.compile(rf"{_PSP_UNUSED}L[34]\."), inner=_LSTM),
    ("psp", "weak"): Family("weak PSP", _PSP_WEAK, re.compile(r"temperature$|W[12]\."), inner=_LSTM),
    ("cmbs", "full"): Family("CMBS", _CMBS_FULL, re.compile(rf"{_CMBS_UNUSED}(audio|video)_norm\."), inner=_CMBS_INNER),
    ("cmbs", "weak"): Family("weak CMBS", _CMBS_WEAK, re.compile(rf"{_CMBS_UNUSED}classifier\."), inner=_CMBS_INNER),
    ("cpsp", "full"): Family("CPSP", _CPSP, re.compile(rf"{_PSP_UNUSED}L[12]\."), inner=_LSTM),
    ("cpsp", "weak"): Family("weak CPSP", _CPSP, re.compile(rf"{_PSP_UNUSED}L[12]\."), inner=_LSTM),
}
SYSTEMS = tuple(dict.fromkeys(system for system, _ in FAMILIES))
# A key that only one supervision of a system has.
_SIGNS = {
    ("psp", "full"): "fa.0.weight",
    ("psp", "weak"): "W3.weight",
    ("cmbs", "full"): "localize_module.classifier.weight",
    ("cmbs", "weak"): "CAS_model.classifier.0.weight",
}
_DMRN_SIGN = "U_v.0.weight"
# Fields of `LocalizerConfig` that leave no trace in a file, by system.
_FREE = {
    "psp": {"threshold", "dropout"},
    "cpsp": {"threshold", "dropout"},
    "cmbs": {
        *("positions", "heads", "interaction_heads", "alpha", "beta", "gamma", "decision"),
        *("dropout", "attention_dropout", "map_dropout", "map_attention_dropout", "interaction_dropout"),
    },
}


def load_localizer(
    state_dict: Mapping[str, Tensor],
    family: str,
    *,
    supervision: str,
    labels: Sequence[str],
    settings: Mapping[str, Any],
) -> EventLocalizer:
    """Build a localizer from a published state dict.

    Args:
        state_dict: published key -> tensor, without ``module.`` prefixes.
        family: one of `SYSTEMS`; "ave" is also DMRN, which its keys tell.
        supervision: "full" or "weak".
        labels: C class names, without the background.
        settings: fields of `LocalizerConfig` that files do not hold.

    Returns:
        The localizer in eval mode, of the type of the file's tensors, float32 or float64.

    Raises:
        ValueError: as for `load_published`.
    """
    system = "dmrn" if family == "ave" and _DMRN_SIGN in state_dict else family
    if unknown := sorted(settings.keys() - _FREE.get(system, set()) - {"segments"}):
        raise ValueError(f"{', '.join(unknown)}: no setting of family {family!r} that its files leave open")
    if (system, supervision) not in FAMILIES:
        known = ", ".join(repr(kind) for name, kind in FAMILIES if name == system)
        raise ValueError(f"family {system!r} has no supervision {supervision!r}, only {known}")
    for (name, other), sign in _SIGNS.items():
        if name == system and other != supervision and sign in state_dict:
            raise ValueError(f"the file has {sign}: it is of supervision {other!r}, not {supervision!r}")
    published = FAMILIES[system, supervision]
    mapped, unused = published.map_state(state_dict)
    try:
        sizes = _read_sizes(mapped, system, supervision)
    except KeyError as error:
        raise ValueError(f"the file is not a published {published.name}: no tensor for {error}") from error
    config = LocalizerConfig(labels=tuple(labels), system=system, supervision=supervision, **sizes, **settings)
    published.check(mapped, localizer_shapes(config), dtypes=(torch.float32, torch.float64))
    if len({tensor.dtype for tensor in mapped.values()}) > 1:
        raise ValueError("the file holds tensors of float32 and of float64, expected one type")
    # Copies: packed tensors must not change together in training.
    localizer = restore_localizer(config, {key: tensor.clone() for key, tensor in mapped.items()})
    localizer.unused_keys = unused
    return localizer


def _read_sizes(tensors: Mapping[str, Tensor], system: str, supervision: str) -> dict[str, int]:
    """Return the fields of `LocalizerConfig` that the shapes of the tensors determine."""
    attention = "encoder.attention"
    if system == "cmbs":
        layers = "encoder.audio_encoder.layers"
        return {
            "audio_dim": read_matrix(tensors, f"{attention}.channel_audio.weight")[1],
            "visual_dim": read_matrix(tensors, "encoder.map_projection.weight")[1],
            "hidden_dim": read_matrix(tensors, "encoder.audio_encoder.projection.weight")[0],
            "feedforward_dim": read_matrix(tensors, f"{layers}.0.feedforward.0.weight")[0],
            "decoder_feedforward_dim": read_matrix(tensors, "encoder.audio_decoder.layer.feedforward.0.weight")[0],
            "layers": count_modules(tensors, rf"{layers}\.(\d+)\."),
        }
    projects = system == "cpsp" or (system, supervision) == ("psp", "full")
    audio = "encoder.audio_projection.0.weight" if projects else f"{attention}.audio_projection.weight"
    attention_dim, visual_dim = read_matrix(tensors, f"{attention}.map_projection.weight")
    sizes = {
        "audio_dim": read_matrix(tensors, audio)[1],
        "visual_dim": visual_dim,
        "attention_dim": attention_dim,
        "positions": read_matrix(tensors, f"{attention}.score.weight")[1],
        "hidden_dim": 2 * read_matrix(tensors, "encoder.audio_lstm.onward.weight_hh_l0")[1],
    }
    if system in {"ave", "psp"}:
        sizes["classifier_dim"] = read_matrix(tensors, "decoder.hidden.weight")[0]
    return sizes
