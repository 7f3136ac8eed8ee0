"""Tokenizers: published ones from their files, and one for text models with random parameters."""

from __future__ import annotations

from pathlib import Path

from ...weights.messages import escape, first_line

MAX_TOKENIZER_BYTES = 16 << 20  # of a file


class FileTokenizer:
    """Tokenizer of a `tokenizer.json`, by the library tokenizers.

    Args:
        path: of the file; it holds only data.

    Raises:
        ValueError: the file is not a tokenizer, or too large.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            if path.stat().st_size > MAX_TOKENIZER_BYTES:
                raise ValueError(f"has more than {MAX_TOKENIZER_BYTES >> 20} MiB")
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{escape(path)}: not a tokenizer.json: {first_line(error)}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, sentence: str) -> list[int]:
        """Return the tokens of a sentence, with its marks."""
        return self._tokenizer.encode(sentence).ids


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
