"""Feature streams and sampling rates of frames and audio."""

from typing import Literal

Stream = Literal["audio", "visual_2d", "visual_3d"]
STREAMS: tuple[Stream, ...] = ("audio", "visual_2d", "visual_3d")

FRAMES_PER_SEGMENT = 8  # sampled frames per second; also the length of an R(2+1)D clip
SAMPLE_RATE = 16_000  # Hz
