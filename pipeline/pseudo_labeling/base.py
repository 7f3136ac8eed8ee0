"""A teacher: an extractor together with encoded text prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ..backends.base import ExtractorSource
from ..backends.registry import prepare_backend
from ..devices import ComputePrecision


class Teacher(nn.Module):
    """Extractor with encoded text prompts: N inputs -> rows (N, C + D), logits of C classes and normalized features.

    A logit is the model's scale times the cosine of feature and text embedding, as `logits_per_image` and
    `logits_per_audio` of transformers. The batch engine uses a teacher as it uses an `Extractor`.

    Args:
        extractor: CLIP or CLAP.
        text_embeddings: (C, D), normalized.
        log_scale: natural logarithm of the logits' scale, a scalar.
    """

    def __init__(self, extractor: Extractor, text_embeddings: Tensor, log_scale: Tensor) -> None:
        super().__init__()
        self.extractor, self.input_format = extractor, extractor.input_format
        self.text_embeddings = nn.Buffer(text_embeddings)
        self.scale = nn.Buffer(log_scale.detach().exp())
        self.dim = sum(text_embeddings.shape)

    @property
    def stream(self) -> Stream:
        """Stream of the media file that the teacher takes."""
        return self.input_format.stream

    def arrange(
        self,
        device: torch.device,
        precision: ComputePrecision,
        weights: str,
        tell: Callable[[str], None] = lambda _: None,
    ) -> Teacher:
        """Move the teacher to a device, its extractor arranged for a precision by its backend.

        Args:
            device: of the teacher.
            precision: of the extractor, with its backend.
            weights: identifies the extractor's parameters.
            tell: called with lines for the user.

        Returns:
            The teacher itself.

        Raises:
            SetupError: the network cannot be computed in this precision here.
        """
        self.eval()
        plain = self.extractor
        source = ExtractorSource(lambda: plain, lambda: plain, weights, tell)
        self.extractor = prepare_backend(precision, device).arrange(source, precision, device)
        return self.to(device)

    def prepare(self, reduced: Tensor) -> Tensor:
        """Convert reduced inputs to the extractor's input, see `Extractor.prepare`."""
        return self.extractor.prepare(reduced)

    def largest_layer(self) -> int | None:
        """Return the bytes of the extractor's largest operation, see `Extractor.largest_layer`."""
        return self.extractor.largest_layer()

    def expect_callers(self, count: int) -> None:
        """Arrange for several threads, see `Extractor.expect_callers`."""
        self.extractor.expect_callers(count)

    def forward(self, x: Tensor) -> Tensor:
        features = self.extractor(x)
        return torch.cat([self.scale * features @ self.text_embeddings.T, features], dim=1)


def pooled_features(output: Any) -> Tensor:
    """Return the features of a model's output: itself in older versions of transformers, `pooler_output` in newer."""
    return output if isinstance(output, Tensor) else output.pooler_output


def select_text_inputs(tokens: Any) -> dict[str, Tensor]:
    """Return the tokenizer's outputs that the text models take; some tokenizers add token_type_ids."""
    return {key: tokens[key] for key in ("input_ids", "attention_mask")}
