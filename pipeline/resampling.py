"""Sound to 16 kHz mono, the published way and the careful one. Pure functions on arrays; streams in, streams out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
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
    container's, in seconds. Each output sample is the nearest decoded one, with no low-pass filter, limited to 0.99
    and truncated to 16 bits. The published reader holds a window of samples, and each time it moves it, it keeps one
    sample too many: from then on everything is one sample late. At the end of the file that grows to a stretch that
    is heard twice. Both are in every published feature, so both are here.

    Where the published program fails (sound of under 2.3 s, no duration) the nearest samples are picked and no more.
    """
    window, origin = read(_WINDOW), 0
    if duration is None or len(window) < _WINDOW // 2:
        yield from _nearest_samples(window, read)
        return
    total = int(SAMPLE_RATE * duration)
    edges = np.linspace(0, total, total // _BLOCK + 2, dtype=int)
    for start, stop in itertools.pairwise(edges.tolist()):
        wanted = _nearest(start, stop)
        for edge in (int(wanted[0]), int(wanted[-1])):
            if not 0 <= edge - origin < len(window):
                moved = max(0, edge - _WINDOW // 2)
                kept = origin + _WINDOW - moved + 1  # the one too many
                window = np.concatenate([window[-kept:], read(_WINDOW - kept)])
                origin = moved
                break
        yield _quantize(window[np.minimum(wanted - origin, len(window) - 1)])


def _nearest_samples(first: Samples, read: Callable[[int], Samples]) -> Iterator[Samples]:
    """The plain rule, second by second: no sample of a second is looked for in another."""
    held = first
    for second in itertools.count():
        while len(held) < PUBLISHED_RATE and len(more := read(PUBLISHED_RATE)):
            held = np.concatenate([held, more])
        if not len(held):
            return
        wanted = _nearest(SAMPLE_RATE * second, SAMPLE_RATE * (second + 1)) - PUBLISHED_RATE * second
        yield _quantize(held[wanted[wanted < len(held)]])
        held = held[PUBLISHED_RATE:]


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
    import torch  # noqa: PLC0415 - not needed for the published path
    import torchaudio  # noqa: PLC0415

    return torchaudio.transforms.Resample(rate, SAMPLE_RATE, dtype=torch.float64, **_KAISER_BEST)


def resample(waveform: Samples, rate: int) -> Samples:
    """Mono sound (S,) at a `resamplable` rate to 16 kHz: (ceil(16000 S / rate),), resampy's `kaiser_best` filter."""
    import torch  # noqa: PLC0415

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
