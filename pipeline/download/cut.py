"""Cut a clip out of a downloaded video, exactly: frames and samples are encoded anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..decode.ffmpeg import ffmpeg_command, ffmpeg_input
from ..decode.open_media import open_media
from ..decode.process import DecoderProcess
from ..errors import DecodeTimeoutError, MediaError
from .reasons import DownloadError

_LEAST_SECONDS = 0.5  # of a clip that the video ends in
_SLACK = 0.5  # seconds that a cut may be shorter than what was asked for
_TIMEOUT = 300.0  # seconds without a byte of output
_CRF = 18  # of x264: visually lossless
_AUDIO_RATE = "192k"  # bits per second


def media_length(path: Path) -> float | None:
    """Return the seconds that a container states, None where it states none. Raises MediaError: it is not media."""
    with open_media(path) as media:
        return media.duration


def cut_clip(source: Path, target: Path, start: float, end: float, *, address: str) -> list[str]:
    """Cut [start, end) out of a video and encode it as H.264 and AAC in MP4.

    Keyframes of a video are seconds apart, so a cut without encoding would begin up to seconds early. ffmpeg seeks to
    the keyframe before, and leaves out what it decodes up to `start`.

    Args:
        source: the whole video.
        target: the file to write; it is replaced.
        start: seconds in the video.
        end: seconds in the video.
        address: for messages.

    Returns:
        Warnings: a clip that the video ends in.

    Raises:
        DownloadError: the video ends before the clip, or cannot be decoded.
        OSError: the clip cannot be written.
    """
    try:
        length = media_length(source)
        if length is not None and length - start < _LEAST_SECONDS:
            raise DownloadError(
                address, f"ends at {length:.1f} s, before the clip that begins at {start:g} s", "too-short"
            )
        _encode(source, target, start, end)
        written = media_length(target)
    except DecodeTimeoutError as error:
        raise DownloadError(address, error.cause, "other") from error
    except MediaError as error:
        raise DownloadError(address, error.cause, "not-media") from error
    if written is None or written < _LEAST_SECONDS:
        raise DownloadError(address, f"has nothing between {start:g} and {end:g} s", "too-short")
    if written < end - start - _SLACK:
        return [f"the video ends in the clip: {written:.1f} of {end - start:g} s"]
    return []


def _encode(source: Path, target: Path, start: float, end: float) -> None:
    import ffmpeg

    def command(descriptor: int) -> Sequence[str]:
        options: dict[str, Any] = {
            "t": f"{end - start:.6f}",
            "map_metadata": -1,
            "c:v": "libx264",
            "crf": _CRF,
            "preset": "veryfast",
            "pix_fmt": "yuv420p",
            "c:a": "aac",
            "b:a": _AUDIO_RATE,
            "movflags": "+faststart",
            "f": "mp4",
            "progress": "pipe:1",
            "vf": "crop=trunc(iw/2)*2:trunc(ih/2)*2",  # yuv420p has even sizes
        }
        video = ffmpeg_input(descriptor, ss=f"{start:.6f}")
        output = ffmpeg.output(video["v:0?"], video["a:0?"], f"file:{target}", **options)
        return ffmpeg_command(output.overwrite_output(), log_level="error")

    with DecoderProcess(source, command, timeout=_TIMEOUT) as process:
        while process.read_line():
            pass
        if status := process.finish():
            raise MediaError(source, process.errors[-1] if process.errors else f"ffmpeg ended with status {status}")
