"""What encodes sentences into the space of an extractor's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Sentences in a batch, and the multiples of tokens that they are filled up to: the same in every list, so that the
# embedding of a sentence is the same to the bit.
_BATCH = 16
_LENGTHS = 8


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
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, *, max_tokens: int, padding: int) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens, self.padding = max_tokens, padding
        self.dim = int(model.config.projection_dim)

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        """Return how many tokens each sentence has, its marks included."""
        return [len(self.tokenizer.encode(sentence)) for sentence in sentences]

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32 embeddings of length 1."""
        tokens = [self._cut(self.tokenizer.encode(sentence)) for sentence in sentences]
        rows = torch.zeros(len(tokens), self.dim)
        by_length: dict[int, list[int]] = {}
        for place, found in enumerate(tokens):
            length = min(self.max_tokens, -(-len(found) // _LENGTHS) * _LENGTHS)
            by_length.setdefault(length, []).append(place)
        for length, places in by_length.items():
            for first in range(0, len(places), _BATCH):
                batch = places[first : first + _BATCH]
                rows[batch] = self._embed([tokens[place] for place in batch], length)
        return rows

    def _embed(self, tokens: list[list[int]], length: int) -> Tensor:
        ids = torch.full((_BATCH, length), self.padding)
        mask = torch.zeros_like(ids)
        for row in range(_BATCH):
            found = tokens[min(row, len(tokens) - 1)]  # the last one again in a batch that is not full
            ids[row, : len(found)] = torch.tensor(found)
            mask[row, : len(found)] = 1
        try:
            embeddings = self.model(input_ids=ids, attention_mask=mask).text_embeds
        except IndexError as error:
            raise ValueError("a token is not in the table of the text model: the tokenizer is another's") from error
        return F.normalize(embeddings.float(), dim=-1)[: len(tokens)]

    def _cut(self, tokens: list[int]) -> list[int]:
        return tokens if len(tokens) <= self.max_tokens else [*tokens[: self.max_tokens - 1], tokens[-1]]
