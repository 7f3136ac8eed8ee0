"""Read text files in UTF-8, UTF-16 or UTF-32, with or without a byte order mark."""

from __future__ import annotations

import codecs
import os
import re
import select
import stat
import time
from collections import Counter
from pathlib import Path

MAX_TEXT_BYTES = 256 << 20  # of a text file
PIPE_SECONDS = 3  # until a program must have opened the other end of a pipe
_PIPE_INTERVAL = 20  # milliseconds between two looks at a pipe

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WITHOUT_MARK = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_LINE_END = re.compile(r"\r\n|\r")
_SAMPLE = 1 << 16  # bytes that are looked at to recognize UTF-16 and UTF-32 without a mark
_EVIDENT = 0.6  # share of characters whose high byte is 0, or that of the text's alphabet
_MAX_CONTROLS = 0.1  # share of control characters from which on a file is binary
_CONTROLS = frozenset(map(chr, range(32))) - set("\t\n\v\f\r")


class TextError(ValueError):
    """The content is not text that can be read. The message, without the file's name, says what to do."""


class NotUnicodeError(TextError):
    """The content may be text, but not in a Unicode encoding."""


def read_bytes(path: Path, *, limit: int | None = None) -> bytes:
    """Read a file that should hold text.

    Args:
        path: the file.
        limit: most bytes that are read; by default `MAX_TEXT_BYTES`.

    Returns:
        Its content.

    Raises:
        TextError: the file cannot be read or is too large. The message is the cause, without the file's name.
    """
    limit = MAX_TEXT_BYTES if limit is None else limit
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            first = _wait_for_writer(descriptor) if stat.S_ISFIFO(status.st_mode) else b""
            os.set_blocking(descriptor, True)
            content = b"" if status.st_size > limit else first + file.read(limit + 1)  # pipes have no size
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL
        raise TextError(str(getattr(error, "strerror", None) or error)) from error
    if status.st_size > limit or len(content) > limit:
        most = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
        raise TextError(f"larger than {most}, the most that is read of a text file")
    return content


def _wait_for_writer(descriptor: int) -> bytes:
    """Wait until a program has opened a pipe to write to it, but not for ever: nobody may.

    Args:
        descriptor: of the pipe, not blocking.

    Returns:
        What was read to find out, at most one byte.

    Raises:
        OSError: no program has opened it within `PIPE_SECONDS`.
    """
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN | select.POLLHUP)
    end = time.monotonic() + PIPE_SECONDS
    while not waiting.poll(_PIPE_INTERVAL):
        try:
            if first := os.read(descriptor, 1):
                return first
        except BlockingIOError:  # it is open, and may stay silent as long as it likes
            return b""
        if time.monotonic() > end:
            raise OSError(f"a pipe that no program writes to; waited {PIPE_SECONDS} s for one")
    return b""


def decode_unicode(content: bytes) -> str:
    r"""Decode text in a Unicode encoding.

    A byte order mark decides. Without one, content with NUL bytes that is evidently UTF-16 or UTF-32 is decoded as
    such, everything else as UTF-8.

    Args:
        content: of a file.

    Returns:
        The text without byte order marks; each end of a line is "\n".

    Raises:
        NotUnicodeError: the content is not UTF-8, and nothing says that it is UTF-16 or UTF-32.
        TextError: the content is binary, or damaged text.
    """
    encoding = detect_encoding(content)
    try:
        return _checked(content.decode(encoding).lstrip("\ufeff"))
    except UnicodeDecodeError as error:
        if encoding == "utf-8" and not content.startswith(codecs.BOM_UTF8):
            line = content.count(b"\n", 0, error.start) + 1
            raise NotUnicodeError(
                f"not UTF-8 (byte 0x{content[error.start]:02x} in line {line}); save it as UTF-8"
                " (UTF-8, UTF-16 and UTF-32 are read)"
            ) from None
        name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise TextError(f"damaged {name}: invalid at byte {error.start}; save it again as UTF-8") from None


def detect_encoding(content: bytes) -> str:
    """Return the encoding that a byte order mark or evident NUL bytes show, else UTF-8.

    Args:
        content: of a file, or its beginning.

    Returns:
        A name for Python; the mark, if there is one, is the first character of the decoded text.

    Raises:
        TextError: the content is binary.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    encoding = _evident_encoding(content) if b"\0" in content else "utf-8"
    if encoding is None:
        raise TextError("not a text file: it contains NUL bytes")
    return encoding


def _evident_encoding(content: bytes) -> str | None:
    """Return the encoding of UTF-16 or UTF-32 without a mark, None where it is not evident."""
    evident: dict[str, float] = {}
    for encoding in _WITHOUT_MARK:
        width = int(encoding[4:6]) // 8
        if len(content) % width:
            continue
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(content[:_SAMPLE])
        except UnicodeDecodeError:
            continue
        if text and all(character.isprintable() or character in "\t\n\v\f\r\x85\xa0\u2028\u3000" for character in text):
            evident[encoding] = 1.0 if width == 4 and len(text) > 1 else _evidence(text)
    best = max(evident, key=lambda encoding: evident[encoding], default=None)
    return best if best is not None and evident[best] >= _EVIDENT else None


def _evidence(text: str) -> float:
    """Return the share of Latin characters and, where there are some, of one other alphabet."""
    high_bytes = Counter(ord(character) >> 8 for character in text)
    latin = high_bytes.pop(0, 0)
    alphabet = max(high_bytes.values(), default=0)
    if latin and len(text) >= 8 and alphabet >= 0.8 * (len(text) - latin):
        return (latin + alphabet) / len(text)
    return latin / len(text)


def _checked(text: str) -> str:
    r"""Return the text with "\n" at the ends of lines. Raises TextError where it is binary."""
    if "\0" in text:
        raise TextError("not a text file: it contains NUL characters")
    sample = text[:_SAMPLE]
    if sum(map(sample.count, _CONTROLS)) > _MAX_CONTROLS * len(sample):
        raise TextError("not a text file: it contains control characters")
    return normalize_lines(text)


def normalize_lines(text: str) -> str:
    r"""Replace each end of a line, as Windows and old Macs write it, by "\n"; other separators are kept."""
    return _LINE_END.sub("\n", text) if "\r" in text else text
