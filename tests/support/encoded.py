"""Clips made with PyAV, where there is no ffmpeg program, as on many machines with a GPU."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

RATE = 16_000


def encode_clip(path: Path, *, seconds: int = 3, size: tuple[int, int] = (160, 120), seed: int = 0) -> Path:
    """Write a clip of moving noise at 16 frames a second, H.264, with a tone in AAC."""
    width, height = size
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 256, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=16)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio: Any = container.add_stream("aac", rate=RATE)
        audio.layout = "mono"
        for index in range(16 * seconds):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * index, axis=1), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        tone = np.sin(2 * np.pi * (300 + 100 * seed) * np.arange(RATE * seconds) / RATE).astype(np.float32)[None] / 2
        for start in range(0, tone.shape[1], 1024):
            chunk = np.ascontiguousarray(tone[:, start : start + 1024])
            sound = av.AudioFrame.from_ndarray(cast("Any", chunk), format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, start, Fraction(1, RATE)
            container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return path
