"""Build ffmpeg commands restricted to one open file."""

from __future__ import annotations

from functools import cache
from typing import Any

MAX_PIXELS = 36_000_000  # 8K; a larger picture is refused, for a few bytes can claim gigabytes


@cache
def ffmpeg_binary() -> str:
    """The ffmpeg that imageio-ffmpeg carries, or the one it was told to use (IMAGEIO_FFMPEG_EXE)."""
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg_input(descriptor: int, **options: Any) -> Any:
    """An ffmpeg-python input that reads an open descriptor and can reach nothing else.

    One thread decodes: with several, what ffmpeg makes of a damaged frame changes from run to run.
    """
    import ffmpeg

    return ffmpeg.input("fd:", protocol_whitelist="fd", fd=descriptor, max_pixels=MAX_PIXELS, threads=1, **options)


def ffmpeg_command(output: Any, *, log_level: str) -> list[str]:
    """The argument list that runs an ffmpeg-python output node."""
    arguments = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", f"level+{log_level}"]
    return output.global_args(*arguments).compile(cmd=ffmpeg_binary())
