"""CLAP as the audio teacher: log-mel spectrograms -> logits and features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SetupError
from ..files import hash_file
from ..preprocess.teacher_inputs import CLAP_MEL
from ..text import escape
from .base import Teacher, pooled_features, select_text_inputs
from .clap_checkpoint import load_laion_clap
from .hub import fetch_file, hash_model, load_all, load_pretrained

CLAP_MODEL = "lukewys/laion_clap/630k-fusion-best.pt"  # VALOR's: fusion, trained on 630k pairs (laion_clap's model 2)
CLAP_TOKENIZER = "roberta-base"
_MAX_TOKENS = 77
_FUSION_INPUTS = 4  # spectrograms per input of a model with fusion; for audio of at most ten seconds all the same


class ClapTeacher(Teacher):
    """`transformers.ClapModel` with fusion on spectrograms (N, 1001, 64) of at most ten seconds of audio."""

    def prepare(self, reduced: Tensor) -> Tensor:
        return reduced.unsqueeze(1)

    def embed(self, x: Tensor) -> Tensor:
        is_longer = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
        spectrograms = x.expand(-1, _FUSION_INPUTS, -1, -1).to(self.dtype)
        return pooled_features(self.model.get_audio_features(input_features=spectrograms, is_longer=is_longer))  # type: ignore[operator]


def load_clap(transformers: Any, name: str, prompts: Sequence[str], *, offline: bool) -> tuple[ClapTeacher, str]:
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
        model, digest = load_laion_clap(transformers, path), hash_file(path)
    else:
        model, tokenizer = load_pretrained(transformers.ClapModel, transformers.AutoTokenizer, name, offline=offline)
        digest = hash_model(name, model)
    if not model.config.audio_config.enable_fusion:
        raise SetupError(f"{escape(name)}: is a CLAP without fusion; use one with fusion, as VALOR does")
    options = {"padding": "max_length", "truncation": True, "max_length": _MAX_TOKENS, "return_tensors": "pt"}
    tokens = tokenizer(list(prompts), **options)
    embeddings = pooled_features(model.get_text_features(**select_text_inputs(tokens)))
    teacher = ClapTeacher(model, CLAP_MEL, nn.functional.normalize(embeddings, dim=-1), model.logit_scale_a)
    return teacher, digest
