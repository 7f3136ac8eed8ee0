"""Options of decoding that every caller of a decoder passes on."""

from __future__ import annotations

from dataclasses import dataclass

from .process import DEFAULT_TIMEOUT


@dataclass(frozen=True)
class DecodeOptions:
    """How files are decoded.

    Attributes:
        decoder: frame reader, a key of `readers.FRAME_READERS`.
        timeout: seconds without progress after which a decoder is killed.
        debug: show tracebacks of a decode worker on standard error.
    """

    decoder: str = "auto"
    timeout: float = DEFAULT_TIMEOUT
    debug: bool = False


DEFAULT_OPTIONS = DecodeOptions()
