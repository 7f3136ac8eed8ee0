"""The streams of features, and how densely the networks look and listen."""

from typing import Literal

Stream = Literal["audio", "visual_2d", "visual_3d"]
STREAMS: tuple[Stream, ...] = ("audio", "visual_2d", "visual_3d")

FRAMES_PER_SEGMENT = 8  # sampled pictures a second; also the length of an R(2+1)D clip
SAMPLE_RATE = 16_000  # samples of sound a second
