"""Keys of a checkpoint of LAION's CLAP program, as those of transformers' ClapModel.

Key names differ, and LAION's attention has its three projections in one matrix. VALOR's teacher is
`630k-fusion-best.pt`. `laion/clap-htsat-fused` on the hub is another model, trained on AudioSet as well
(`630k-audioset-fusion-best.pt`, according to its authors), so LAION's file itself is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_PROJECTIONS = ("query", "key", "value")
_UNUSED = re.compile(
    r"spectrogram_extractor|logmel_extractor|tscam_conv|attn_mask|audio_branch\.head|position_ids|(text|audio)_transform"
)
# LAION's text branch has the names of transformers already; these are of the audio branch.
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
    """Rename and split LAION's parameters.

    Args:
        state: of LAION's checkpoint, with or without the prefix `module.`.

    Returns:
        State dict of `transformers.ClapModel`.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        key = name.removeprefix("module.")
        if _UNUSED.search(key):
            continue
        branch, _, rest = key.partition(".")
        if branch == "text_branch":
            converted[f"text_model.{rest}"] = tensor
        elif branch == "audio_branch":
            converted |= _convert_audio(rest, tensor)
        elif match := re.fullmatch(r"(audio|text)_projection\.([02])\.(weight|bias)", key):
            modality, index, kind = match.groups()
            converted[f"{modality}_projection.linear{1 if index == '0' else 2}.{kind}"] = tensor
        else:
            converted[key] = tensor  # logit_scale_a, logit_scale_t
    return converted


def _convert_audio(key: str, tensor: Tensor) -> dict[str, Tensor]:
    for pattern, name in _AUDIO_NAMES:
        key = re.sub(pattern, name, key)
    prefix = "audio_model.audio_encoder."
    if match := re.fullmatch(r"(.*)\.attn\.qkv\.(weight|bias)", key):
        block, kind = match.groups()
        chunks = zip(_PROJECTIONS, tensor.chunk(3), strict=True)
        return {f"{prefix}{block}.attention.self.{projection}.{kind}": chunk for projection, chunk in chunks}
    return {prefix + key: tensor}
