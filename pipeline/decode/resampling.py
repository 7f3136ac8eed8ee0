"""Resample audio to 16 kHz: the published nearest-sample path, and anti-aliased filters by name.

The functions are pure: they take and return arrays, or iterators of arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import SAMPLE_RATE
from ...extractors.torchaudio_import import import_torchaudio

PUBLISHED_RATE = 44_100  # Hz; the published path decodes to this rate before it picks samples

# moviepy 1.0.3, which made LLP's audio: samples in its read window, samples it writes at a time.
_WINDOW = 200_000
_BLOCK = 2_000

# The filter that resampy called `kaiser_best` when VGGish was defined with it. Since 0.4 that name means a slightly
# narrower one.
_ZERO_CROSSINGS = 64
_ROLLOFF = 0.9475937167399596
_BETA = 14.769656459379492

Samples = NDArray[np.float64]
Resampler = Callable[[Samples, int], Samples]  # mono audio (S,) and its rate in Hz -> the same at 16 kHz


def published_track(read: Callable[[int], Samples], duration: float | None) -> Iterator[Samples]:
    """Reproduce the 16 kHz track that LLP's features were made from, bit for bit.

    Each output sample is the nearest decoded one, without a low-pass filter, limited to 0.99 and truncated to 16 bits.
    The published reader has a window of samples; each time it moves the window, it keeps one sample too many, so that
    everything after it is one sample late. In the block that contains the end of the audio this grows to a stretch
    that is repeated. Both effects are in every published feature, so both are reproduced. Where the container states
    a longer duration than the audio has, the published program repeats audio to fill it; that part is omitted. Where
    it states a shorter one, all of the audio is read.

    The published program fails on audio of less than 2.3 s; there, the nearest samples are picked and nothing else.

    Args:
        read: returns that many of the next samples at 44.1 kHz, (n, channels) in [-1, 1], fewer at the end.
        duration: seconds that the container states, which decide the size of the published blocks; None if unknown.

    Yields:
        Blocks (n, channels) at 16 kHz.

    Source:
        AudioFileClip and FFMPEG_AudioReader of moviepy 1.0.3.
    """
    window, origin = read(_WINDOW), 0
    received, ended = len(window), len(window) < _WINDOW
    moves = received >= _WINDOW // 2
    width = _block_width(duration)
    for block in itertools.count():
        nearest = _nearest(int(block * width), int((block + 1) * width))
        edges = (int(nearest[0]), int(nearest[-1]))
        if moves and (outside := [edge for edge in edges if not 0 <= edge - origin < len(window)]):
            moved = max(0, outside[0] - _WINDOW // 2)
            kept = origin + _WINDOW - moved + 1  # one too many, as published
            new_samples = read(_WINDOW - kept)
            received, ended = received + len(new_samples), ended or len(new_samples) < _WINDOW - kept
            window, origin = np.concatenate([window[-kept:], new_samples]), moved
        if ended and nearest[0] >= received:
            return
        indices = nearest - origin
        yield _quantize(window[np.minimum(indices, len(window) - 1) if moves else indices[indices < len(window)]])


def _block_width(duration: float | None) -> float:
    """Return how many samples the published program writes at a time: at most 2,000, so as to fill the duration."""
    total = int(SAMPLE_RATE * duration) if duration else 0
    return total / (total // _BLOCK + 1) if total else float(_BLOCK)


def _nearest(start: int, stop: int) -> NDArray[np.int64]:
    return np.round(PUBLISHED_RATE * (np.arange(start, stop) * (1.0 / SAMPLE_RATE))).astype(np.int64)


def _quantize(samples: Samples) -> Samples:
    return np.trunc(32768 * np.clip(samples, -0.99, 0.99)) / 32768


# The filter is stored once for each of rate / gcd(rate, 16000) positions between samples. 44.1 kHz has 441; a file that
# claims 96,001 Hz would have 96,001, and need gigabytes.
MAX_PHASES = 1000
COMMON_RATE = 48_000


def resamplable(rate: int) -> int:
    """Return the rate to decode audio to: `rate`, or `COMMON_RATE` where the filter for `rate` would be too large."""
    return rate if rate // math.gcd(rate, SAMPLE_RATE) <= MAX_PHASES else COMMON_RATE


def _filter_taps(rate: int) -> tuple[int, int, float, NDArray[np.float64]]:
    """Return samples before each step, samples of a step, gain, and zero crossings from the centre of the filter.

    The last is (taps, output samples of a step).
    """
    step, phases = rate // math.gcd(rate, SAMPLE_RATE), SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
    cutoff = min(step, phases) * _ROLLOFF
    width = math.ceil(_ZERO_CROSSINGS * step / cutoff)
    taps, outputs = np.arange(-width, width + step)[:, None] / step, np.arange(phases)[None] / phases
    return width, step, cutoff / step, np.clip((taps - outputs) * cutoff, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)


@cache
def _polyphase_filter(rate: int) -> tuple[int, int, NDArray[np.float64]]:
    """Return samples before each step, samples of a step, and the filter (taps, output samples of a step)."""
    width, step, gain, positions = _filter_taps(rate)
    window = np.i0(_BETA * np.sqrt(1 - (positions / _ZERO_CROSSINGS) ** 2)) / np.i0(_BETA)
    return width, step, np.sinc(positions) * window * gain


def resample_polyphase(waveform: Samples, rate: int) -> Samples:
    """Resample to 16 kHz with the `kaiser_best` filter of resampy before 0.4, in NumPy.

    Args:
        waveform: mono audio (S,).
        rate: its rate in Hz, one that `resamplable` returns.

    Returns:
        (ceil(16000 S / rate),).
    """
    width, step, taps = _polyphase_filter(rate)
    padded = np.pad(waveform, (width, width + step))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps))[::step]
    return (windows @ taps).reshape(-1)[: math.ceil(SAMPLE_RATE * len(waveform) / rate)]


@cache
def _torchaudio_filter(rate: int) -> Callable[[Any], Any]:
    """Return torchaudio's filter; where torchaudio does not import, the same filter of ours."""
    import torch

    torchaudio = import_torchaudio()
    if torchaudio is None:
        return _torch_filter(rate)
    return torchaudio.transforms.Resample(
        rate,
        SAMPLE_RATE,
        dtype=torch.float64,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=_ZERO_CROSSINGS,
        rolloff=_ROLLOFF,
        beta=_BETA,
    )


def _torch_filter(rate: int) -> Callable[[Any], Any]:
    """Return torchaudio's filter in plain torch: (1, S) -> (1, samples at 16 kHz)."""
    import torch

    if rate == SAMPLE_RATE:
        return lambda waveform: waveform
    width, step, gain, taps = _filter_taps(rate)
    positions, beta = torch.from_numpy(taps.T), torch.tensor(_BETA)  # beta is float32 in torchaudio, too
    window = torch.i0(beta * torch.sqrt(1 - (positions / _ZERO_CROSSINGS) ** 2)) / torch.i0(beta)
    kernel = (torch.sinc(positions) * window * gain)[:, None]

    def resample(waveform: Any) -> Any:
        padded = torch.nn.functional.pad(waveform, (width, width + step))
        return torch.nn.functional.conv1d(padded[:, None], kernel, stride=step).transpose(1, 2).flatten(1)

    return resample


def resample_torchaudio(waveform: Samples, rate: int) -> Samples:
    """Resample to 16 kHz with torchaudio and the same filter; the first call imports torch, which takes seconds.

    Where torchaudio does not import beside the installed torch, the same filter is computed without it.

    Args:
        waveform: mono audio (S,).
        rate: its rate in Hz, one that `resamplable` returns.

    Returns:
        (ceil(16000 S / rate),).
    """
    import torch

    resampled = _torchaudio_filter(rate)(torch.from_numpy(np.ascontiguousarray(waveform))[None])
    return resampled[0].numpy()[: math.ceil(SAMPLE_RATE * len(waveform) / rate)]


def resample_resampy(waveform: Samples, rate: int) -> Samples:
    """Resample to 16 kHz with resampy and its own `kaiser_best` filter, narrower since 0.4.

    The first call imports resampy and compiles it with numba, which takes seconds.

    Args:
        waveform: mono audio (S,).
        rate: its rate in Hz.

    Returns:
        (floor(16000 S / rate),).
    """
    import resampy

    return resampy.resample(waveform, rate, SAMPLE_RATE, filter="kaiser_best")


DEFAULT_RESAMPLER = "polyphase"
RESAMPLERS: dict[str, Resampler] = {
    DEFAULT_RESAMPLER: resample_polyphase,
    "torchaudio": resample_torchaudio,
    "resampy": resample_resampy,
}


def get_resampler(name: str) -> Resampler:
    """Look up a resampler.

    Args:
        name: key in `RESAMPLERS`.

    Returns:
        The function.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    if name not in RESAMPLERS:
        raise ValueError(f"unknown resampler {name!r}; known: {', '.join(RESAMPLERS)}")
    return RESAMPLERS[name]


def resample_seconds(
    seconds: Iterator[Samples], rate: int, resample: Resampler = resample_polyphase
) -> Iterator[Samples]:
    """Resample a stream of whole seconds; the result equals resampling the whole signal in one call.

    The filters reach some milliseconds to each side, so each second is resampled together with its two neighbours.
    For `resample_resampy` the two differ by resampy's rounding of its time steps, which grows with the whole signal.

    Args:
        seconds: mono audio (rate,) each; the last is zero-padded.
        rate: in Hz, one that `resamplable` returns.
        resample: function of `RESAMPLERS`.

    Yields:
        Seconds (16000,).
    """
    silence, reach = np.zeros(rate), _reach(rate)
    first = reach * SAMPLE_RATE // rate
    previous, current = silence, next(seconds, None)
    while current is not None:
        following = next(seconds, None)
        after = silence if following is None else following
        neighbourhood = np.concatenate([previous[rate - reach :], current, after[:reach]])
        if neighbourhood.any():
            yield resample(neighbourhood, rate)[first : first + SAMPLE_RATE]
        else:  # a hole of hours costs nothing
            yield np.zeros(SAMPLE_RATE)
        previous, current = current, following


def _reach(rate: int) -> int:
    """Return how many samples of the seconds before and after a second its resampling needs, at most a second.

    A whole number of samples at both rates, and more than half of the longest filter of `RESAMPLERS`.
    """
    step = rate // math.gcd(rate, SAMPLE_RATE)
    longest = math.ceil(2 * _ZERO_CROSSINGS * max(1.0, rate / SAMPLE_RATE))
    return min(rate, step * math.ceil(longest / step))
