"""CLIP's features of single frames, by the modules of transformers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Extractor, normalize
from .inputs import CLIP_FRAME, CLIP_SIZE
from .transformers_import import import_transformers

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of pixels in [0, 1]
_QUICK_GELU = 1.702


class CLIP(Extractor):
    """Visual half of CLIP: frames (N, 3, 224, 224) -> features (N, dim) of length 1.

    Keys are those of transformers' `CLIPModel`.

    Args:
        model: of transformers, with `vision_model` and `visual_projection`.

    Source:
        VALOR's program uses CLIP ViT-L/14; Radford et al.: Learning Transferable Visual Models From Natural Language
        Supervision, ICML 2021.
    """

    input_format = CLIP_FRAME
    unused_prefixes = ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids")

    def __init__(self, model: Any) -> None:
        super().__init__(dim=model.config.projection_dim)
        self.vision_model, self.visual_projection = model.vision_model, model.visual_projection
        embeddings = self.vision_model.embeddings
        # Not in every file; and it has values where the parameters are yet to be loaded.
        embeddings.position_ids = torch.arange(embeddings.num_positions, device="cpu")[None]
        embeddings._non_persistent_buffers_set.add("position_ids")

    def prepare(self, reduced: Tensor) -> Tensor:
        """Standardise the channels: (N, 224, 224, 3) in [0, 1] -> (N, 3, 224, 224)."""
        return normalize(reduced * 255, _MEAN, _STD).permute(0, 3, 1, 2).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.vision_model(pixel_values=x).pooler_output
        return F.normalize(self.visual_projection(pooled).float(), dim=-1)

    def fold(self) -> CLIP:
        """Return a copy whose activation is folded into its linear layers, see `fold_quick_gelu`."""
        copied = copy.deepcopy(self)
        fold_quick_gelu(copied.vision_model)
        return copied


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


def clip_l14() -> CLIP:
    """Build CLIP ViT-L/14 as OpenAI published it: 768 values; 303,966,208 parameters."""
    return _build(1024, feedforward=4096, layers=24, heads=16, patch=14, dim=768)


def clip_b32() -> CLIP:
    """Build CLIP ViT-B/32 as OpenAI published it: 512 values; 87,849,216 parameters."""
    return _build(768, feedforward=3072, layers=12, heads=12, patch=32, dim=512)


def clip_tiny() -> CLIP:
    """Build a network of a size for tests: 12 values."""
    return _build(16, feedforward=16, layers=1, heads=2, patch=56, dim=12)


def _build(width: int, *, feedforward: int, layers: int, heads: int, patch: int, dim: int) -> CLIP:
    transformers = import_transformers()
    config = transformers.CLIPVisionConfig(
        hidden_size=width, intermediate_size=feedforward, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=CLIP_SIZE, patch_size=patch, projection_dim=dim,
    )  # fmt: skip
    return CLIP(transformers.CLIPVisionModelWithProjection(config))
