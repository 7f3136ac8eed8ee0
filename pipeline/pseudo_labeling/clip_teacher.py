"""CLIP as the visual teacher: frames -> logits and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...extractors.clip import CLIP
from ...extractors.inputs import CLIP_SIZE
from ..errors import SetupError
from ..text import escape
from .base import Teacher, pooled_features, select_text_inputs
from .hub import hash_model, load_pretrained

CLIP_MODEL = "openai/clip-vit-large-patch14"


def load_clip(transformers: Any, name: str, prompts: Sequence[str], *, offline: bool) -> tuple[Teacher, str]:
    """Load CLIP and encode the text prompts.

    Args:
        transformers: the module.
        name: a folder, or a name on the Hugging Face hub.
        prompts: a sentence per class.
        offline: use only files on this machine.

    Returns:
        The teacher on the CPU, and the hash of its files.

    Raises:
        SetupError: files are missing, the model takes images of another size, or a prompt is too long.

    Source:
        VALOR's program uses CLIP ViT-L/14; Radford et al.: Learning Transferable Visual Models From Natural Language
        Supervision, ICML 2021.
    """
    model, tokenizer = load_pretrained(transformers.CLIPModel, transformers.AutoTokenizer, name, offline=offline)
    image_size = model.config.vision_config.image_size
    if image_size != CLIP_SIZE:
        raise SetupError(
            f"{escape(name)}: takes images of {image_size} x {image_size} pixels, expected {CLIP_SIZE} x {CLIP_SIZE}"
        )
    tokens = tokenizer(list(prompts), padding=True, return_tensors="pt")
    max_tokens = model.config.text_config.max_position_embeddings
    if tokens["input_ids"].shape[1] > max_tokens:
        longest = max(prompts, key=len)
        raise SetupError(f"{escape(name)}: takes at most {max_tokens} tokens; shorten the prompt {longest[:60]!r}...")
    embeddings = pooled_features(model.get_text_features(**select_text_inputs(tokens)))
    teacher = Teacher(CLIP(model), nn.functional.normalize(embeddings, dim=-1), model.logit_scale)
    return teacher, hash_model(name, model)
