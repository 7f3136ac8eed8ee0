"""CLAP as the audio teacher: log-mel spectrograms -> logits and features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ...extractors.clap import CLAP
from ...extractors.clap_keys import convert_clap
from ...weights.errors import WeightsError
from ...weights.load import read_state_dict
from ...weights.messages import first_line
from ...weights.parameters import check_parameters
from ..errors import SetupError
from ..files import hash_file
from ..text import escape
from .base import Teacher, pooled_features, select_text_inputs
from .hub import fetch_file, hash_model, load_all, load_pretrained

CLAP_MODEL = "lukewys/laion_clap/630k-fusion-best.pt"  # VALOR's: fusion, trained on 630k pairs (laion_clap's model 2)
CLAP_TOKENIZER = "roberta-base"
_MAX_TOKENS = 77
_CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index")  # computed, so a file may lack them


def load_clap(transformers: Any, name: str, prompts: Sequence[str], *, offline: bool) -> tuple[Teacher, str]:
    """Load CLAP and encode the text prompts.

    Args:
        transformers: the module.
        name: a folder or a name on the Hugging Face hub; with the suffix .pt a file of LAION's program, by its path or
            as OWNER/REPOSITORY/FILE.
        prompts: a sentence per class.
        offline: use only files on this machine.

    Returns:
        The teacher on the CPU, and the hash of its files.

    Raises:
        SetupError: files are missing or do not fit, or the model has no fusion.

    Source:
        VALOR's program uses laion_clap with fusion; Wu et al.: Large-Scale Contrastive Language-Audio Pretraining with
        Feature Fusion and Keyword-to-Caption Augmentation, ICASSP 2023.
    """
    if name.endswith(".pt"):
        path, (_, tokenizer) = load_all(
            partial(fetch_file, name, offline=offline),
            partial(load_pretrained, None, transformers.AutoTokenizer, CLAP_TOKENIZER, offline=offline),
        )
        model, digest = _load_laion_clap(transformers, path), hash_file(path)
    else:
        model, tokenizer = load_pretrained(transformers.ClapModel, transformers.AutoTokenizer, name, offline=offline)
        digest = hash_model(name, model)
    if not model.config.audio_config.enable_fusion:
        raise SetupError(f"{escape(name)}: is a CLAP without fusion; use one with fusion, as VALOR does")
    options = {"padding": "max_length", "truncation": True, "max_length": _MAX_TOKENS, "return_tensors": "pt"}
    tokens = tokenizer(list(prompts), **options)
    embeddings = pooled_features(model.get_text_features(**select_text_inputs(tokens)))
    return Teacher(CLAP(model), nn.functional.normalize(embeddings, dim=-1), model.logit_scale_a), digest


def _load_laion_clap(transformers: Any, path: Path) -> Any:
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
