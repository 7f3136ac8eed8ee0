"""Key rules of MGN and of DHHN: how their files map to this program's names."""

from __future__ import annotations

import re
from typing import Any

from .keys import Family, Rules
from .published_han import HAN, MMIL, PACKED_ATTENTION, STEM

# MGN's grouping blocks; "han_encoder" is the one that regroups the audio by the picture.
_MGN: Rules = (
    (r"(audio|visual)_token$", r"encoder.\1_tokens"),
    (r"audio_cug\.han_encoder\.", "encoder.audio.regrouping."),
    (r"(audio|visual)_cug\.", r"encoder.\1."),
    (r"av_mcg\.", "decoder."),
    (r"fc_prob\.", "decoder.prob."),
    (r"fc_prob_a\.", "decoder.audio_prob."),
    (r"fc_prob_v\.", "decoder.visual_prob."),
    (r"fc_cls\.", "decoder.token_classifier."),
)
_MGN_INNER: Rules = (
    # A grouping; "attn" and "mlp" that follow are also those of the transformer blocks.
    (r"\.norm_tokens\.", ".token_norm."),
    (r"\.mlp_inter\.", ".token_mixing."),
    (r"\.norm_post_tokens\.", ".mixed_norm."),
    (r"\.norm_x\.", ".segment_norm."),
    (r"\.pre_assign_attn\.norm_post\.", ".query_norm."),
    (r"\.pre_assign_attn\.", "."),
    (r"\.norm_new_x\.", ".group_norm."),
    (r"\.mlp_channels\.", ".group_feedforward."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".feedforward_norm."),
    (r"\.attn\.qkv\.", ".attention.in_proj_"),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.", ".feedforward."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.proj\.", ".output."),
    (r"\.fc1\.", ".0."),
    (r"\.fc2\.", ".3."),
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
