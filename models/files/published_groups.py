"""Key rules of MGN and of DHHN: how their files map to this program's names."""

from __future__ import annotations

import re
from typing import Any

from .keys import Family, Rules
from .published_han import HAN, MMIL, PACKED_ATTENTION, STEM

# MGN's grouping blocks; "han_encoder" is the one that regroups the audio by the picture.
_MGN: Rules = (
    (r"audio_token", "encoder.audio_tokens"),
    (r"visual_token", "encoder.visual_tokens"),
    (r"audio_cug\.han_encoder\.", "encoder.audio.regrouping."),
    (r"audio_cug\.", "encoder.audio."),
    (r"visual_cug\.", "encoder.visual."),
    (r"fc_prob\.", "decoder.prob."),
    (r"fc_prob_a\.", "decoder.audio_prob."),
    (r"fc_prob_v\.", "decoder.visual_prob."),
    (r"fc_cls\.", "decoder.token_classifier."),
    (r"av_mcg\.", "decoder."),
)


def _perceptron(published: str, ours: str) -> Rules:
    return ((rf"{published}fc1\.", f"{ours}0."), (rf"{published}fc2\.", f"{ours}3."))


def _projections(published: str, ours: str) -> Rules:
    """Return the rules of the layers of an attention whose query, key and value are apart."""
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "proj": "output"}
    return tuple((rf"{published}{name}\.", f"{ours}{own}.") for name, own in names.items())


_BLOCK, _OWN_BLOCK = r"\.blocks\.(\d+)\.", r".blocks.\1."
# Every rule holds all that it depends on, so that `Family.published_key` finds the one key of a tensor.
_MGN_INNER: Rules = (
    # A transformer block.
    (rf"{_BLOCK}norm1\.", f"{_OWN_BLOCK}attention_norm."),
    (rf"{_BLOCK}norm2\.", f"{_OWN_BLOCK}feedforward_norm."),
    (rf"{_BLOCK}attn\.qkv\.", f"{_OWN_BLOCK}attention.in_proj_"),
    (rf"{_BLOCK}attn\.proj\.", f"{_OWN_BLOCK}attention.output."),
    *_perceptron(rf"{_BLOCK}mlp\.", f"{_OWN_BLOCK}feedforward."),
    # A grouping.
    (r"\.norm_tokens\.", ".token_norm."),
    *_perceptron(r"\.mlp_inter\.", ".token_mixing."),
    (r"\.norm_post_tokens\.", ".mixed_norm."),
    (r"\.norm_x\.", ".segment_norm."),
    *_projections(r"\.pre_assign_attn\.attn\.", ".attention."),
    (r"\.pre_assign_attn\.norm2\.", ".feedforward_norm."),
    *_perceptron(r"\.pre_assign_attn\.mlp\.", ".feedforward."),
    (r"\.pre_assign_attn\.norm_post\.", ".query_norm."),
    *_projections(r"\.assign\.", ".assign."),
    (r"\.norm_new_x\.", ".group_norm."),
    *_perceptron(r"\.mlp_channels\.", ".group_feedforward."),
)
_SCALES: Rules = (
    (r"conv_x1\.(\d+)\.blocks\.0\.0\.", r"encoder.scales.\1.audio.convolution."),
    (r"conv_x2\.(\d+)\.blocks\.0\.0\.", r"encoder.scales.\1.visual.convolution."),
    (r"conv_x1\.(\d+)\.blocks\.0\.1\.", r"encoder.scales.\1.audio.norm."),
    (r"conv_x2\.(\d+)\.blocks\.0\.1\.", r"encoder.scales.\1.visual.norm."),
)
_MGN_SETTINGS: dict[str, Any] = {
    "encoder": "mgn", "decoder": "groups", "heads": 8, "dropout": 0.0, "attention_dropout": 0.0, "path_dropout": 0.1,
    "video_filter": "pooled",
}  # fmt: skip
_DHHN_SETTINGS: dict[str, Any] = {
    "encoder": "han", "decoder": "mmil", "heads": 1, "scales": 3, "dropout": 0.1, "attention_dropout": 0.1,
    "video_filter": "own",
}  # fmt: skip
GROUP_FAMILIES = {
    "mgn": Family("MGN", STEM + _MGN, re.compile(r"(?!)"), _MGN_SETTINGS, _MGN_INNER),  # every key is read
    "dhhn": Family(
        "DHHN",
        STEM + _SCALES + HAN + MMIL,
        re.compile(r"hat_encoder\.norm[12]\.|conv_x[12]\.\d+\.blocks\.0\.1\.num_batches_tracked$"),
        _DHHN_SETTINGS,
        PACKED_ATTENTION,
    ),
}
# Prefixes of the two networks of DHHN in one state dict; a file holds one of them without a prefix.
NETWORKS = ("audio_net.", "video_net.")
