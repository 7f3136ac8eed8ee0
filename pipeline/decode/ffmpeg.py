"""Build ffmpeg commands that can read one open file and nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

from .container.media_file import MAX_PIXELS


@cache
def ffmpeg_binary() -> str:
    """Return the path of imageio-ffmpeg's ffmpeg, or of the one that IMAGEIO_FFMPEG_EXE names."""
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg_input(descriptor: int, **options: Any) -> Any:
    """Return an ffmpeg-python input that reads an open descriptor, with every other protocol disabled.

    Decoding uses one thread: with several, the decoded pixels of a damaged frame change from run to run.

    Args:
        descriptor: number of an open descriptor that the ffmpeg process inherits.
        options: further input options of ffmpeg.

    Returns:
        A node of ffmpeg-python.
    """
    import ffmpeg

    return ffmpeg.input("fd:", protocol_whitelist="fd", fd=descriptor, max_pixels=MAX_PIXELS, threads=1, **options)


def ffmpeg_command(output: Any, *, log_level: str) -> list[str]:
    """Return the argument list that runs an ffmpeg-python output node.

    Args:
        output: an output node of ffmpeg-python.
        log_level: ffmpeg's `-loglevel`.

    Returns:
        The program and its arguments.
    """
    arguments = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", f"level+{log_level}"]
    return output.global_args(*arguments).compile(cmd=ffmpeg_binary())


def ppm_command(video: Any, count: int) -> list[str]:
    """Return the argument list that writes frames as PPM to standard output, for `read_ppm_frames`.

    Args:
        video: a node of ffmpeg-python.
        count: frames at most.

    Returns:
        The program and its arguments.
    """
    options = {"frames:v": count, "vcodec": "ppm", "pix_fmt": "rgb24", "f": "image2pipe"}
    return ffmpeg_command(video.output("pipe:1", **options), log_level="error")
