"""What encodes sentences into the space of an extractor's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BATCH = 64  # sentences


class TextEncoder(Protocol):
    """Sentences -> embeddings of length 1, in the space of one extractor's features.

    Attributes:
        dim: width of an embedding.
        max_tokens: tokens that are read of a sentence, its marks of beginning and end included; None where all are.
    """

    @property
    def dim(self) -> int: ...

    @property
    def max_tokens(self) -> int | None: ...

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32 embeddings of length 1."""
        ...

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        """Return how many tokens each sentence has, its marks included."""
        ...


class Tokenizer(Protocol):
    """Sentences -> numbers of tokens, with the marks of beginning and end."""

    def encode(self, sentence: str) -> list[int]:
        """Return the tokens of a sentence, however many."""
        ...


class TransformerTextEncoder(nn.Module):
    """A text model of transformers with its tokenizer.

    Args:
        model: takes `input_ids` and `attention_mask`, and returns `text_embeds` (N, dim).
        tokenizer: of the model.
        max_tokens: longer sentences are cut to as many, the mark of their end included.
        padding: token that fills up shorter sentences.
        pad_to: tokens that every sentence is filled up to; None for those of the longest of a batch.
    """

    def __init__(
        self, model: Any, tokenizer: Tokenizer, *, max_tokens: int, padding: int, pad_to: int | None = None
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.padding, self.pad_to = max_tokens, padding, pad_to
        self.dim = int(model.config.projection_dim)

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        """Return how many tokens each sentence has, its marks included."""
        return [len(self.tokenizer.encode(sentence)) for sentence in sentences]

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32 embeddings of length 1."""
        rows = [torch.zeros(0, self.dim)]
        for first in range(0, len(sentences), _BATCH):
            tokens = [self._cut(self.tokenizer.encode(text)) for text in sentences[first : first + _BATCH]]
            length = self.pad_to or max(map(len, tokens))
            ids = torch.full((len(tokens), length), self.padding)
            mask = torch.zeros_like(ids)
            for row, found in enumerate(tokens):
                ids[row, : len(found)] = torch.tensor(found)
                mask[row, : len(found)] = 1
            embeddings = self.model(input_ids=ids, attention_mask=mask).text_embeds
            rows.append(F.normalize(embeddings.float(), dim=-1))
        return torch.cat(rows).clone()

    def _cut(self, tokens: list[int]) -> list[int]:
        return tokens if len(tokens) <= self.max_tokens else [*tokens[: self.max_tokens - 1], tokens[-1]]
