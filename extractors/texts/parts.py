"""Text encoders of other packages: an extractor that encodes sentences itself, whose answers are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base import Extractor

_FUNCTIONS = ("encode", "count_tokens")


class PartTextEncoder:
    """An extractor of another package as a `TextEncoder`.

    Args:
        extractor: with the functions of a `TextEncoder`, and its attribute `max_tokens`. The rows that it returns may
            have any length but 0.

    Attributes:
        dim: width of an embedding.
        max_tokens: tokens that are read of a sentence; None where all are.
        logit_scale: what a cosine is multiplied with to be a logit; None where the extractor does not say.

    Raises:
        ValueError: a function is missing, or `max_tokens` is no such number.
    """

    def __init__(self, extractor: Extractor) -> None:
        assert extractor.part is not None
        self._part, self.dim = extractor.part, extractor.dim
        own: Any = extractor
        self._calls: dict[str, Callable[..., Any]] = {}
        for name in _FUNCTIONS:
            if not callable(function := getattr(own, name, None)):
                raise ValueError(f"the {self._part} has no function `{name}` for sentences")
            self._calls[name] = function
        self.max_tokens: int | None = getattr(own, "max_tokens", 0)
        if self.max_tokens is not None and (type(self.max_tokens) is not int or self.max_tokens < 1):
            raise ValueError(
                f"the {self._part} has no max_tokens: a number, or None where a sentence is read to its end"
            )
        self.logit_scale: object = getattr(own, "logit_scale", None)

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32 embeddings of length 1. Raises ValueError for an answer that is none."""
        rows = self._call("encode", sentences)
        expected = (len(sentences), self.dim)
        if not isinstance(rows, Tensor) or tuple(rows.shape) != expected or not rows.is_floating_point():
            found = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
            raise ValueError(
                f"the {self._part} returned {found} for {len(sentences)} sentences, expected float {expected}"
            )
        lengths = rows.float().norm(dim=1)
        if not bool((lengths.isfinite() & (lengths > 0)).all()):
            raise ValueError(f"the {self._part} returned embeddings of sentences that are not finite, or zeros")
        return F.normalize(rows.float(), dim=1).cpu()

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        """Return how many tokens each sentence has. Raises ValueError for an answer that is none."""
        counts = self._call("count_tokens", sentences)
        if not isinstance(counts, list) or len(counts) != len(sentences) or not all(type(n) is int for n in counts):
            raise ValueError(f"the {self._part} returned no list of {len(sentences)} numbers of tokens")
        return counts

    def _call(self, name: str, sentences: Sequence[str]) -> Any:
        return replace(self._part, value=self._calls[name]).call(list(sentences))
