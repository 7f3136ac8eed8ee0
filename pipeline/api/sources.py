"""What calls take: files and arrays, one or many, and the part of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from ..decode.options import DecodeOptions
from .arrays import MediaArrays

Source = str | PathLike[str] | MediaArrays


@dataclass(frozen=True)
class Part:
    """The part of every file of a call: seconds on its clock; None for that of the parser's own options."""

    start: float | None = None
    end: float | None = None

    def apply(self, decoding: DecodeOptions) -> DecodeOptions:
        """Return the options for this part. Raises ValueError if it is not an interval."""
        if self.start is None and self.end is None:
            return decoding
        start = decoding.start if self.start is None else self.start
        return replace(decoding, start=start, end=decoding.end if self.end is None else self.end)


def is_single(source: object) -> bool:
    """Return whether a call has one source, not several."""
    return isinstance(source, str | PathLike | MediaArrays)


def check_sources(source: object) -> None:
    """Raise TypeError for what is neither a path, nor arrays, nor an iterable of them."""
    if is_single(source) or (isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | np.ndarray)):
        return
    raise TypeError(
        f"{type(source).__name__} is neither a path nor MediaArrays (avvp.MediaArrays(frames, frame_rate)), nor an"
        " iterable of them"
    )


def source_name(source: Source) -> str:
    """Return the path of a file, or the name of arrays."""
    return source.name if isinstance(source, MediaArrays) else str(Path(source))
