"""The spectrogram that CLAP is fed: ten seconds at 48 kHz, 64 mel bands, decibels. NumPy alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...extractors.mel import hertz_to_mel, mel_to_hertz

RATE = 48_000
SAMPLES = 10 * RATE
FFT, HOP, BANDS = 1024, 480, 64
FRAMES = SAMPLES // HOP + 1
_LOW, _HIGH = 50.0, 14_000.0  # Hz
_FLOOR = 1e-10  # of power


def clap_mel(chunk: NDArray[np.floating]) -> NDArray[np.float32]:
    """(FRAMES, BANDS) of a sound (n,) in [-1, 1] of up to ten seconds, repeated as often as it fits, then silence.

    As LAION's program and the transformers port have it: periodic Hann window, centred frames with reflected ends,
    power, HTK mel bands from 50 to 14,000 Hz, 10 log10.
    """
    whole = np.zeros(SAMPLES)
    chunk = np.asarray(chunk, np.float64)[:SAMPLES]
    if len(chunk):
        repeated = np.tile(chunk, SAMPLES // len(chunk))
        whole[: len(repeated)] = repeated
    padded = np.pad(whole, FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP]
    power = np.abs(np.fft.rfft(frames * _window(), axis=1)) ** 2
    return (10 * np.log10(np.maximum(power @ _filters(), _FLOOR))).astype(np.float32)


@cache
def _window() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)


@cache
def _filters() -> NDArray[np.float64]:
    """(FFT / 2 + 1, BANDS): triangles of height 1, evenly spaced in HTK's mel."""
    edges = mel_to_hertz(np.linspace(hertz_to_mel(_LOW), hertz_to_mel(_HIGH), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
