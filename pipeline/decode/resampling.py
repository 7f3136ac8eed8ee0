"""Sound to 16 kHz mono, the published way and the careful one. Pure functions on arrays; streams in, streams out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import SAMPLE_RATE

PUBLISHED_RATE = 44_100  # the rate that the published path decodes to before it picks samples

# moviepy 1.0.3, which made LLP's sound: samples it holds, samples it writes at a time.
_WINDOW = 200_000
_BLOCK = 2_000

# torchaudio's parameters of the filter that resampy called `kaiser_best` when VGGish was defined with it. Since 0.4
# the name stands for a slightly narrower one.
_KAISER_BEST = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}

Samples = NDArray[np.float64]


def published_track(read: Callable[[int], Samples], duration: float | None) -> Iterator[Samples]:
    """The 16 kHz track that LLP's features were made from, in blocks (n, channels), bit for bit.

    read: returns that many of the next samples at 44.1 kHz, (n, channels) in [-1, 1], fewer at the end. duration: the
    container's, in seconds; the published blocks follow from it. Each output sample is the nearest decoded one, with
    no low-pass filter, limited to 0.99 and truncated to 16 bits. The published reader holds a window of samples, and
    each time it moves it, it keeps one sample too many: from then on everything is one sample late. In the block that
    holds the end of the sound that grows to a stretch that is heard twice. Both are in every published feature, so
    both are here. What the container claims beyond the end of the sound, and the published program fills with more of
    the same, is left out; what it conceals is read.

    Where the published program fails, on sound of under 2.3 s, the nearest samples are picked and no more.
    """
    window, origin = read(_WINDOW), 0
    received, ended = len(window), len(window) < _WINDOW
    moves = received >= _WINDOW // 2
    width = _block_width(duration)
    for block in itertools.count():
        wanted = _nearest(int(block * width), int((block + 1) * width))
        edges = (int(wanted[0]), int(wanted[-1]))
        if moves and (outside := [edge for edge in edges if not 0 <= edge - origin < len(window)]):
            moved = max(0, outside[0] - _WINDOW // 2)
            kept = origin + _WINDOW - moved + 1  # the one too many
            fresh = read(_WINDOW - kept)
            received, ended = received + len(fresh), ended or len(fresh) < _WINDOW - kept
            window, origin = np.concatenate([window[-kept:], fresh]), moved
        if ended and wanted[0] >= received:
            return
        places = wanted - origin
        yield _quantize(window[np.minimum(places, len(window) - 1) if moves else places[places < len(window)]])


def _block_width(duration: float | None) -> float:
    """Samples that the published program writes at a time: at most 2,000, so that the blocks fill the duration."""
    total = int(SAMPLE_RATE * duration) if duration else 0
    return total / (total // _BLOCK + 1) if total else float(_BLOCK)


def _nearest(start: int, stop: int) -> NDArray[np.int64]:
    return np.round(PUBLISHED_RATE * (np.arange(start, stop) * (1.0 / SAMPLE_RATE))).astype(np.int64)


def _quantize(samples: Samples) -> Samples:
    return np.trunc(32768 * np.clip(samples, -0.99, 0.99)) / 32768


# The filter is stored once for each of rate / gcd(rate, 16000) positions between samples. 44.1 kHz has 441; a file that
# claims 96,001 Hz would have 96,001, and gigabytes.
MAX_PHASES = 1000
COMMON_RATE = 48_000


def resamplable(rate: int) -> int:
    """The rate itself or, where its filter would be enormous, the common rate that sound is to be decoded to first."""
    return rate if rate // math.gcd(rate, SAMPLE_RATE) <= MAX_PHASES else COMMON_RATE


@cache
def _resampler(rate: int) -> Any:
    import torch
    import torchaudio

    return torchaudio.transforms.Resample(rate, SAMPLE_RATE, dtype=torch.float64, **_KAISER_BEST)


def resample(waveform: Samples, rate: int) -> Samples:
    """Mono sound (S,) at a `resamplable` rate to 16 kHz: (ceil(16000 S / rate),), resampy's `kaiser_best` filter."""
    import torch

    resampled = _resampler(rate)(torch.from_numpy(np.ascontiguousarray(waveform))[None])
    return resampled[0].numpy()[: math.ceil(SAMPLE_RATE * len(waveform) / rate)]


def resample_seconds(seconds: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """The same for a stream of whole seconds, (rate,) each: equal to resampling it in one piece.

    The filter reaches some milliseconds to each side; the neighbouring seconds are more than enough.
    """
    silence = np.zeros(rate)
    previous, current = silence, next(seconds, None)
    while current is not None:
        following = next(seconds, None)
        around = np.concatenate([previous, current, silence if following is None else following])
        yield resample(around, rate)[SAMPLE_RATE : 2 * SAMPLE_RATE]
        previous, current = current, following
