"""Key rules of the published systems whose encoder is HAN: how their files map to this program's names."""

from __future__ import annotations

import re
from typing import Any

from .keys import Family, Rules

STEM: Rules = (
    (r"fc_a\.", "stem.audio."),
    (r"fc_v\.", "stem.visual_2d."),
    (r"fc_st\.", "stem.visual_3d."),
    (r"fc_fusion\.", "stem.fusion."),
)
MMIL: Rules = (
    (r"fc_prob\.", "decoder.prob."),
    (r"fc_frame_att\.", "decoder.frame_attention."),
    (r"fc_av_att\.", "decoder.modality_attention."),
)
PACKED_ATTENTION: Rules = ((r"out_proj\.", "output."),)  # inside torch's attention layers


def _han_layers(published: str, ours: str) -> Rules:
    """Return the rules of HAN layers: of the prefix of a layer as a regular expression, and of its replacement."""
    return (
        (rf"{published}self_attn\.", f"{ours}within."),
        (rf"{published}cm_attn\.", f"{ours}across."),
        (rf"{published}linear1\.", f"{ours}feedforward.0."),
        (rf"{published}linear2\.", f"{ours}feedforward.3."),
        (rf"{published}norm1\.", f"{ours}attention_norm."),
        (rf"{published}norm2\.", f"{ours}feedforward_norm."),
    )


HAN: Rules = _han_layers(r"hat_encoder\.layers\.(\d+)\.", r"encoder.layers.\1.")
# Cross-attention, which a file has whether or not its network is run with it.
CROSS_ATTENTION = re.compile(r"hat_encoder\.layers\.\d+\.cm_attn\.")
_HAN_NORMS = r"hat_encoder\.(norm[12]|final_norm_[av])\."
_FRAME_STEM: Rules = tuple((rf"{pattern}0\.", name) for pattern, name in STEM)
_MLP_STEM: Rules = (
    (r"fc_a\.layers\.0\.", "stem.audio.0."),
    (r"fc_a\.layers\.1\.", "stem.audio.2."),
    (r"fc_fusion\.layers\.0\.", "stem.visual."),
)
_LAYERED_MMIL: Rules = (MMIL[0], *((rf"{pattern}layers\.0\.", name) for pattern, name in MMIL[1:]))
_EVIDENCE: Rules = (
    (r"fc_prob\.", "decoder.presence."),
    (r"fc_prob_beta\.", "decoder.absence."),
    (r"fc_frame_att\.", "decoder.frame_attention."),
    (r"v2a\.0\.", "decoder.audio_context."),
    (r"a2v\.0\.", "decoder.visual_context."),
    (r"classifier1\.0\.", "decoder.video_hidden."),
    (r"classifier2\.", "decoder.video_prob."),
)
_CLASSWISE: Rules = (
    (r"fc_occ_class_a\.", "decoder.audio_classes."),
    (r"fc_occ_class_v\.", "decoder.visual_classes."),
    (r"fc_occ_prob_a\.", "decoder.audio_prob."),
    (r"fc_occ_prob_v\.", "decoder.visual_prob."),
    *_han_layers(r"av_class_encoder\.layers\.0\.", "decoder.interaction."),
    *MMIL[1:],
)
_HAN_UNUSED = rf"(audio|visual|cmt)_encoder\.|{_HAN_NORMS}"
_EVIDENCE_UNUSED = rf"fc_global\.[02]\.|{_HAN_NORMS}"

_SETTINGS: dict[str, Any] = {
    "encoder": "han", "decoder": "mmil", "heads": 1, "dropout": 0.1, "attention_dropout": 0.1,
}  # fmt: skip
_JOMOLD: dict[str, Any] = {**_SETTINGS, "visual_dropout": 0.5, "video_filter": "own"}
_CMPAE: dict[str, Any] = {
    **_JOMOLD, "stem": "elu", "decoder": "evidence", "evidence_dropout": 0.2, "cross_share": 0.8,
    "self_attention_share": 0.3, "segment_threshold": 0.25, "video_threshold": 0.45,
}  # fmt: skip


def _family(name: str, rules: Rules, unused: str, settings: dict[str, Any]) -> Family:
    return Family(name, rules, re.compile(unused), settings, PACKED_ATTENTION)


HAN_FAMILIES = {
    "han": _family("HAN + MMIL", STEM + HAN + MMIL, _HAN_UNUSED, _SETTINGS),
    "valor": _family(
        "VALOR's HAN + MMIL",
        STEM + HAN + MMIL,
        _HAN_UNUSED,
        {**_SETTINGS, "heads": 8, "han_order": "sequential"},
    ),
    "ma": _family("MA", STEM + HAN + MMIL, rf"t_att2?\.|fc[12]\.|{_HAN_UNUSED}", {**_SETTINGS, "video_filter": "own"}),
    "jomold": _family("JoMoLD", STEM + HAN + MMIL, _HAN_NORMS, _JOMOLD),
    "lsld": _family("LSLD", STEM[:2] + HAN + MMIL, _HAN_NORMS, {**_JOMOLD, "visual_3d_dim": 0}),
    "cmpae": _family("CMPAE", _FRAME_STEM + HAN + _EVIDENCE, _EVIDENCE_UNUSED, _CMPAE),
    "coleaf": _family(
        "CoLeaF",
        _FRAME_STEM + HAN + _EVIDENCE,
        rf"{_EVIDENCE_UNUSED}|hat_encoder\.layers\.\d+\.cls_tokens_[av]$",
        {**_CMPAE, "video_threshold": 0.52},
    ),
    "cvcms": _family(
        "CVCMS",
        STEM + HAN + _CLASSWISE,
        r"fc_prob\.|fc_occ_class_av\.|fc_occ_(a|v|av)_[qkv]\.|fc_occ_(frame|modality)_prob\.|(frame_att|modality)_encoder\."
        rf"|av_class_encoder\.norm[12]\.|{_HAN_NORMS}",
        {
            **_SETTINGS,
            "decoder": "classwise",
            "dropout": 0.4,
            "attention_dropout": 0.4,
            "class_dropout": 0.25,
            "video_filter": "pooled",
        },
    ),
    "uwav": _family(
        "UWAV",
        _MLP_STEM + HAN + _LAYERED_MMIL,
        _HAN_NORMS,
        {
            **_SETTINGS,
            "stem": "mlp",
            "heads": 16,
            "han_order": "sequential",
            "video_filter": "pooled",
            "strict_thresholds": True,
            "visual_3d_dim": 512,
        },
    ),
}
# Families whose program can run without cross-attention, and what they are run with.
CROSS_ATTENTION_SETTINGS: dict[bool, dict[str, Any]] = {
    True: {"self_attention_share": 0.0},
    False: {"cross_attention": False, "cross_share": 1.0, "self_attention_share": 0.0},
}
CROSS_ATTENTION_FAMILIES = ("jomold", "cmpae", "coleaf")
