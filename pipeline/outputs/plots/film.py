"""Small frames at equal distances over a whole video, decoded in one pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...decode.base import read_ppm_frames
from ...decode.ffmpeg import ffmpeg_input, ppm_command
from ...decode.process import DEFAULT_TIMEOUT, DecoderProcess
from ...errors import DecodeTimeoutError

TILE_WIDTH, TILE_HEIGHT = 64, 36  # pixels, at most: 16 to 9
_SMALLEST_WIDTH, _SMALLEST_HEIGHT = 9, 16  # pixels; a file may claim frames of one row
PICTURE_SCALE = 3  # a picture in a list of files is larger than a tile by this factor
KEY_FRAMES_FROM = 90.0  # seconds; of longer videos only key frames are decoded
MAX_FILM_SECONDS = 60  # that decoding may take: an hour of key frames takes a few


def film_frames(path: Path, count: int, step: float, *, timeout: float = DEFAULT_TIMEOUT) -> NDArray[np.uint8] | None:
    """Decode small frames at equal distances.

    Of longer videos than `KEY_FRAMES_FROM` only key frames are decoded, which encoders place every few seconds:
    decoding every frame of an hour takes minutes.

    Args:
        path: a media file.
        count: number of frames.
        step: seconds between two frames; frame k is one shown at (k + 1/2) `step` of the container's time, or a few
            frames earlier.
        timeout: seconds without progress after which the decoder is stopped.

    Returns:
        (n, H, W, 3) uint8 RGB with the aspect ratio that a player shows, within 64 x 36; n is smaller than `count`
        where the video ends before. None where the file has no video that can be decoded.

    Raises:
        MediaError: the file cannot be opened.
        DecodeTimeoutError: the decoder hangs, or takes longer than a minute.
    """

    def command(descriptor: int) -> Sequence[str]:
        # Frames that no other one needs are half of the work: a tile may be a few frames early.
        skipped = "nokey" if count * step > KEY_FRAMES_FROM else "noref"
        video = ffmpeg_input(descriptor, reinit_filter=0, skip_loop_filter="all", skip_frame=skipped)["V:0"]
        # Tile k is the last frame that begins at or before its time: `start_time` would round half a step.
        earlier = video.filter("setpts", f"PTS-{step / 2:.6f}/TB")
        shown = earlier.filter("fps", fps=f"1/{step:.6f}", start_time=0, round="up")
        return ppm_command(_shrink(shown), count)

    end = time.monotonic() + MAX_FILM_SECONDS
    frames: list[NDArray[np.uint8]] = []
    with DecoderProcess(path, command, timeout=timeout) as process:
        for frame in read_ppm_frames(process):
            if time.monotonic() > end:
                raise DecodeTimeoutError(path, f"its frames could not be decoded within {MAX_FILM_SECONDS} s")
            if not frames or frame.shape == frames[0].shape:
                frames.append(frame)
    return np.stack(frames) if frames else None


def key_frame(path: Path, seconds: float, *, timeout: float = DEFAULT_TIMEOUT) -> NDArray[np.uint8] | None:
    """Decode the key frame at or before a time, as a picture for a list of files.

    Args:
        path: a media file.
        seconds: of the container's time.
        timeout: seconds without progress after which the decoder is stopped.

    Returns:
        (H, W, 3) uint8 RGB within 192 x 108; None where there is none, or none can be decoded.

    Raises:
        MediaError: the file cannot be opened.
        DecodeTimeoutError: the decoder hangs.
    """

    def command(descriptor: int) -> Sequence[str]:
        video = ffmpeg_input(descriptor, ss=f"{seconds:.6f}", noaccurate_seek=None, skip_frame="nokey")["V:0"]
        # The key frame has a negative time, before that of the picture, and would be dropped.
        return ppm_command(_shrink(video.filter("setpts", "0"), PICTURE_SCALE), 1)

    with DecoderProcess(path, command, timeout=timeout) as process:
        return next(read_ppm_frames(process), None)


def _shrink(video: Any, scale: int = 1) -> Any:
    """Scale frames to the size of tiles, times `scale`, with the aspect ratio that a player shows."""
    width = f"{scale}*clip(round({TILE_HEIGHT}*dar),{_SMALLEST_WIDTH},{TILE_WIDTH})"
    height = f"{scale}*clip(round({TILE_WIDTH}/dar),{_SMALLEST_HEIGHT},{TILE_HEIGHT})"
    return video.filter("scale", width, height, flags="area").filter("setsar", 1)
