"""Build ffmpeg commands that can read one open file and nothing else."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import SetupError
from ..text import escape
from .container.media_file import MAX_PIXELS

VARIABLE = "AVVP_FFMPEG"
_CHECK_SECONDS = 30


@cache
def ffmpeg_binary() -> str:
    """Return the path of the ffmpeg that `AVVP_FFMPEG` names, else of imageio-ffmpeg's.

    Returns:
        A program that reads open descriptors, which is how every file is given to it.

    Raises:
        SetupError: `AVVP_FFMPEG` does not name such a program.
    """
    if named := os.environ.get(VARIABLE):
        _check(named)
        return named
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def check_named_ffmpeg() -> None:
    """Raise SetupError if `AVVP_FFMPEG` names something else than an ffmpeg."""
    if os.environ.get(VARIABLE):
        ffmpeg_binary()


def _check(program: str) -> None:
    """Raise SetupError for a program of the user that is not an ffmpeg which can be confined to one open file."""
    where = f"{VARIABLE}={escape(program)}"
    if not Path(program).is_absolute():  # decoders run in other folders
        raise SetupError(f"{where}: expected the absolute path of an ffmpeg, such as /usr/bin/ffmpeg")
    command = [program, "-hide_banner", "-protocols"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CHECK_SECONDS, check=True
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"{where}: it did not end within {_CHECK_SECONDS} s; unset the variable") from None
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        cause = getattr(error, "strerror", None) or escape(error)
        raise SetupError(f"{where}: it cannot be run ({cause}); correct or unset the variable") from error
    if b"fd" not in done.stdout.split():
        raise SetupError(f"{where}: it cannot read open descriptors; expected ffmpeg 6.0 or newer")


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
