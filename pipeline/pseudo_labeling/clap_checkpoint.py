"""Convert a checkpoint of LAION's CLAP program to transformers' ClapModel.

Key names differ, and LAION's attention has its three projections in one matrix. VALOR's teacher is
`630k-fusion-best.pt`. `laion/clap-htsat-fused` on the hub is another model, trained on AudioSet as well
(`630k-audioset-fusion-best.pt`, according to its authors), so LAION's file itself is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...weights.errors import WeightsError
from ...weights.load import read_state_dict
from ...weights.messages import first_line
from ...weights.parameters import check_parameters
from ..errors import SetupError
from ..text import escape

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
_CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index")  # computed, so a file may lack them


def load_laion_clap(transformers: Any, path: Path) -> Any:
    """Build a `transformers.ClapModel` with fusion from LAION's file, without unpickling code.

    Args:
        transformers: the module.
        path: of the checkpoint.

    Returns:
        The model in eval mode.

    Raises:
        SetupError: the file is not such a checkpoint.
    """
    config = transformers.ClapConfig()
    config.audio_config.enable_fusion = True
    model = transformers.ClapModel(config).eval()
    floats = {key: tensor.shape for key, tensor in model.state_dict().items() if tensor.is_floating_point()}
    try:
        converted = convert_clap(read_state_dict(path))
        parameters = {key: tensor for key, tensor in converted.items() if key in floats}
        check_parameters(parameters, {key: floats[key] for key in parameters})  # missing ones are named below
        missing, unknown = model.load_state_dict(converted, strict=False)
    except (RuntimeError, WeightsError, ValueError) as error:
        raise SetupError(f"{escape(path)}: not a CLAP checkpoint of LAION: {first_line(error)}") from error
    missing = [key for key in missing if not key.endswith(_CONSTANTS)]
    if missing or unknown:
        counts = f"{len(missing)} keys missing, {len(unknown)} unknown"
        names = escape(", ".join([*missing, *unknown][:3]))
        raise SetupError(f"{escape(path)}: not a CLAP checkpoint of LAION: {counts} ({names})")
    return model


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
