"""CLIP as the visual teacher: frames -> logits and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...extractors.base import normalize
from ..errors import SetupError
from ..preprocess.teacher_inputs import CLIP_FRAME, SIZE
from ..text import escape
from .base import Teacher, pooled_features, select_text_inputs
from .hub import hash_model, load_pretrained

CLIP_MODEL = "openai/clip-vit-large-patch14"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of pixels in [0, 1]
_QUICK_GELU = 1.702


class ClipTeacher(Teacher):
    """`transformers.CLIPModel` on frames (N, 224, 224, 3) in [0, 1]."""

    def prepare(self, reduced: Tensor) -> Tensor:
        return normalize(reduced * 255, _MEAN, _STD).permute(0, 3, 1, 2).contiguous()

    def embed(self, x: Tensor) -> Tensor:
        return pooled_features(self.model.get_image_features(pixel_values=x.to(self.dtype)))  # type: ignore[operator]


def load_clip(transformers: Any, name: str, prompts: Sequence[str], *, offline: bool) -> tuple[ClipTeacher, str]:
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
    if image_size != SIZE:
        raise SetupError(
            f"{escape(name)}: takes images of {image_size} x {image_size} pixels, expected {SIZE} x {SIZE}"
        )
    tokens = tokenizer(list(prompts), padding=True, return_tensors="pt")
    max_tokens = model.config.text_config.max_position_embeddings
    if tokens["input_ids"].shape[1] > max_tokens:
        longest = max(prompts, key=len)
        raise SetupError(f"{escape(name)}: takes at most {max_tokens} tokens; shorten the prompt {longest[:60]!r}...")
    embeddings = pooled_features(model.get_text_features(**select_text_inputs(tokens)))
    fold_quick_gelu(model.vision_model)
    teacher = ClipTeacher(model, CLIP_FRAME, nn.functional.normalize(embeddings, dim=-1), model.logit_scale)
    return teacher, hash_model(name, model)


def fold_quick_gelu(transformer: Any) -> None:
    """Fold the factors of CLIP's activation, x sigmoid(1.702 x), into the linear layers around it, in place.

    With y = 1.702 x the activation is silu(y) / 1.702: one pass over memory in place instead of three into new memory.
    Features stay equal within rounding.

    Args:
        transformer: the vision model; one with another activation stays as it is.
    """
    if transformer.config.hidden_act != "quick_gelu":
        return
    with torch.no_grad():
        for mlp in (block.mlp for block in transformer.encoder.layers):
            mlp.fc1.weight.mul_(_QUICK_GELU)
            mlp.fc1.bias.mul_(_QUICK_GELU)
            mlp.fc2.weight.div_(_QUICK_GELU)
            mlp.activation_fn = nn.SiLU(inplace=True)
