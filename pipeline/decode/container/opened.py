"""Open a media file with FFmpeg's libraries (PyAV). Runs in decode processes only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.codec.hwaccel
import av.container
import av.error
import av.logging

from ...errors import MediaError
from ...text import escape
from .media_file import MAX_PIXELS, open_media_file

# Containers that list streams as they meet them. FFmpeg looks at 5 s or 5 MB by default; these limits apply where a
# kind of stream was not found in that.
_LONG_LOOK = {"probesize": "100000000", "analyzeduration": "3600000000"}  # bytes, microseconds


@contextmanager
def open_container(
    path: Path,
    *,
    long_look: bool = False,
    log: list[str] | None = None,
    gpu: av.codec.hwaccel.HWAccel | None = None,
) -> Iterator[av.container.InputContainer]:
    """Open a media file so that FFmpeg can read this file and nothing else.

    Args:
        path: the file.
        long_look: search far into the file for streams that begin late.
        log: receives what FFmpeg reports while it looks at the file.
        gpu: that decodes its video, of `find_gpu`; None is the CPU.

    Yields:
        The container, closed at the end.

    Raises:
        MediaError: the file cannot be opened, or is not media.
    """
    descriptor = open_media_file(path)
    options = {"fd": str(descriptor), "protocol_whitelist": "fd", "max_pixels": str(MAX_PIXELS)}
    # A programme whose streams move to other identifiers in mid-file keeps its streams.
    options |= {"merge_pmt_versions": "1", **(_LONG_LOOK if long_look else {})}
    av.logging.set_level(av.logging.ERROR)
    messages: list[tuple[int, str, str]] = []
    try:
        with av.logging.Capture() as messages:  # what it says about damage is said again when packets are read
            container = av.open("fd:", options=options, metadata_errors="replace", hwaccel=gpu)
        if log is not None:
            log += (message for _, _, message in messages)
    except av.error.FFmpegError as error:
        if any("moov atom not found" in message for _, _, message in messages):
            cause = "is incomplete: its index (moov) is missing, as if a copy or a recording had been interrupted"
            raise MediaError(path, cause, "damaged") from error
        cause = "is not a media file that can be read (no audio or video found)"
        raise MediaError(path, cause, "not-media") from error
    finally:
        os.close(descriptor)  # FFmpeg has its own copy
    with container, library_errors(path):
        yield container


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Raise MediaError for errors of FFmpeg and NumPy in the body: absurd sizes, rates, times and formats of a file.

    Args:
        path: the file.
    """
    try:
        yield
    except (av.error.FFmpegError, ArithmeticError, MemoryError, ValueError) as error:
        reason = str(error.strerror) if isinstance(error, av.error.FFmpegError) else str(error)
        cause = f"its headers or data are damaged or not supported ({escape(reason or type(error).__name__)})"
        category = "out-of-memory" if isinstance(error, MemoryError) else "damaged"
        raise MediaError(path, cause, category) from error
