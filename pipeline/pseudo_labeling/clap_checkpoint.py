"""LAION's own CLAP file in the transformers port: key names, and attention whose projections lie in one matrix.

VALOR's teacher is `630k-fusion-best.pt`. The port's `laion/clap-htsat-fused` is another one, trained on AudioSet, too
(`630k-audioset-fusion-best.pt`, its authors say), so the file itself is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_PARTS = ("query", "key", "value")
_UNUSED = re.compile(
    r"spectrogram_extractor|logmel_extractor|tscam_conv|attn_mask|audio_branch\.head|position_ids|(text|audio)_transform"
)
# In LAION's text branch the names are those of the port already; these are the audio branch's.
_AUDIO_NAMES = (
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative_position_", ".attention.self.relative_position_"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"^bn0\.", "batch_norm."),
)


def convert_clap(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of `transformers.ClapModel`. state: LAION's, with or without the prefix `module.`."""
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        key = name.removeprefix("module.")
        if _UNUSED.search(key):
            continue
        branch, _, rest = key.partition(".")
        if branch == "text_branch":
            converted[f"text_model.{rest}"] = tensor
        elif branch == "audio_branch":
            converted |= _audio(rest, tensor)
        elif found := re.fullmatch(r"(audio|text)_projection\.([02])\.(weight|bias)", key):
            sense, place, kind = found.groups()
            converted[f"{sense}_projection.linear{1 if place == '0' else 2}.{kind}"] = tensor
        else:
            converted[key] = tensor  # logit_scale_a, logit_scale_t
    return converted


def _audio(key: str, tensor: Tensor) -> dict[str, Tensor]:
    for pattern, name in _AUDIO_NAMES:
        key = re.sub(pattern, name, key)
    prefix = "audio_model.audio_encoder."
    if found := re.fullmatch(r"(.*)\.attn\.qkv\.(weight|bias)", key):
        block, kind = found.groups()
        pieces = zip(_PARTS, tensor.chunk(3), strict=True)
        return {f"{prefix}{block}.attention.self.{part}.{kind}": piece for part, piece in pieces}
    return {prefix + key: tensor}
