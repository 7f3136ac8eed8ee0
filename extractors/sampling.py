"""Feature streams and sampling rates of frames and audio."""

from typing import Literal, get_args

Stream = Literal["audio", "visual_2d", "visual_3d", "visual_map"]
ALL_STREAMS: tuple[Stream, ...] = get_args(Stream)
LLP_STREAMS: tuple[Stream, ...] = ("audio", "visual_2d", "visual_3d")
CLIP_CLAP_STREAMS: tuple[Stream, ...] = ("audio", "visual_2d")
AVE_STREAMS: tuple[Stream, ...] = ("audio", "visual_map")
POOLED_STREAMS: frozenset[Stream] = frozenset({"visual_map"})  # a row is the mean over the frames of a second

FRAMES_PER_SEGMENT = 8  # sampled frames per second; also the length of an R(2+1)D clip
SAMPLE_RATE = 16_000  # Hz
CLAP_RATE = 48_000  # Hz


def rows_per_segment(stream: Stream, frames_per_segment: int = FRAMES_PER_SEGMENT) -> int:
    """Return how many rows of features a stream has for each second.

    Args:
        stream: one of `ALL_STREAMS`.
        frames_per_segment: sampled frames per second.

    Returns:
        The number of frames for `visual_2d`, which has a row for each; 1 for the other streams.
    """
    return frames_per_segment if stream == "visual_2d" else 1
