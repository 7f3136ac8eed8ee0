"""Tokenizers: published ones from their files, and one for text models with random parameters."""

from __future__ import annotations

from pathlib import Path

from ...weights.manifest import MAX_TOKENS_FILE
from ...weights.messages import escape, first_line, shown
from ...weights.unicode import read_bytes
from .tokenizer_files import check_tokenizer

MAX_SENTENCE_TOKENS = 10_000


class FileTokenizer:
    """Tokenizer of a `tokenizer.json`, by the library tokenizers.

    Args:
        path: of the file; it holds only data, which is checked.

    Raises:
        ValueError: the file is not a tokenizer, is too large, or does what is not known to be harmless.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._path = path
        try:
            self._tokenizer = Tokenizer.from_str(check_tokenizer(read_bytes(path, limit=MAX_TOKENS_FILE)))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{escape(path)}: not a tokenizer.json: {first_line(error)}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, sentence: str) -> list[int]:
        """Return the tokens of a sentence, with its marks. Raises ValueError if they are none, or too many."""
        try:
            tokens = self._tokenizer.encode(sentence).ids
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{escape(self._path)}: no tokens of {shown(sentence)}: {first_line(error)}") from error
        if not 0 < len(tokens) <= MAX_SENTENCE_TOKENS:
            raise ValueError(f"{shown(sentence)} has {len(tokens):,} tokens, expected 1 to {MAX_SENTENCE_TOKENS:,}")
        return tokens


class ByteTokenizer:
    """A token for each byte of a sentence, for text models with random parameters, whose words mean nothing.

    Args:
        begin: mark of the beginning.
        end: mark of the end.
        first: token of the byte 0.
    """

    def __init__(self, begin: int, end: int, first: int) -> None:
        self._begin, self._end, self._first = begin, end, first

    def encode(self, sentence: str) -> list[int]:
        """Return the tokens of a sentence, with its marks."""
        return [self._begin, *(self._first + byte for byte in sentence.encode()), self._end]
