"""Base class of the teachers: a network together with its encoded text prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...extractors.inputs import InputFormat
from ...extractors.sampling import Stream


class Teacher(nn.Module):
    """Network with encoded text prompts: N inputs -> rows (N, C + D), logits of C classes and normalized features.

    A logit is the model's scale times the cosine of feature and text embedding, as `logits_per_image` and
    `logits_per_audio` of transformers. The batch engine uses a teacher as it uses an `Extractor`.

    Args:
        model: of transformers.
        input_format: the input that the model takes.
        text_embeddings: (C, D), normalized.
        log_scale: natural logarithm of the logits' scale, a scalar.
    """

    def __init__(self, model: nn.Module, input_format: InputFormat, text_embeddings: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.model, self.input_format = model, input_format
        self.text_embeddings = nn.Buffer(text_embeddings)
        self.scale = nn.Buffer(log_scale.detach().exp())
        self.dim = sum(text_embeddings.shape)

    @property
    def stream(self) -> Stream:
        """Stream of the media file that the teacher takes."""
        return self.input_format.stream

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the model's parameters."""
        return next(self.model.parameters()).dtype

    def prepare(self, reduced: Tensor) -> Tensor:
        """Convert reduced inputs to the model's input.

        Args:
            reduced: (N, *input_format.shape), of `input_format.dtype`, on any device.

        Returns:
            N inputs of `forward`, float, on the same device.
        """
        raise NotImplementedError

    def embed(self, x: Tensor) -> Tensor:
        """Compute the features (N, D) of prepared inputs, not normalized."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        features = nn.functional.normalize(self.embed(x).float(), dim=-1)
        return torch.cat([self.scale * features @ self.text_embeddings.T, features], dim=1)


def pooled_features(output: Any) -> Tensor:
    """Return the features of a model's output: itself in older versions of transformers, `pooler_output` in newer."""
    return output if isinstance(output, Tensor) else output.pooler_output


def select_text_inputs(tokens: Any) -> dict[str, Tensor]:
    """Return the tokenizer's outputs that the text models take; some tokenizers add token_type_ids."""
    return {key: tokens[key] for key in ("input_ids", "attention_mask")}
