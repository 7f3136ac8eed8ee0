"""Log-mel spectrogram that CLAP takes: ten seconds at 48 kHz, 64 mel bands, decibels. NumPy only."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .mel import hertz_to_mel, mel_to_hertz
from .sampling import CLAP_RATE

RATE = CLAP_RATE
SAMPLES = 10 * RATE
FFT, HOP, BANDS = 1024, 480, 64
FRAMES = SAMPLES // HOP + 1
_LOW, _HIGH = 50.0, 14_000.0  # Hz
_FLOOR = 1e-10  # of power
_BEND, _PER_FACTOR = 1000.0, 27 / np.log(6.4)  # of Slaney's mel scale: Hz, and mel for a factor of e above it


def clap_mel(waveform: NDArray[np.floating], *, slaney: bool = False) -> NDArray[np.float32]:
    """Compute CLAP's log-mel spectrogram of up to ten seconds of audio.

    Shorter audio is repeated as often as it fits into ten seconds, then padded with silence. Periodic Hann window,
    centred frames with reflected ends, power, 64 mel bands from 50 to 14,000 Hz, 10 log10.

    Args:
        waveform: mono audio at 48 kHz, (n,) in [-1, 1]; samples after ten seconds are ignored.
        slaney: bands of area 1 on Slaney's mel scale, which CLAP without fusion takes; else of height 1 on HTK's.

    Returns:
        (FRAMES, BANDS) in decibels.

    Source:
        LAION-AI/CLAP, and ClapFeatureExtractor of transformers (padding "repeatpad"; truncation "fusion", and
        "rand_trunc" for Slaney's bands).
    """
    padded = np.zeros(SAMPLES)
    waveform = np.asarray(waveform, np.float64)[:SAMPLES]
    if len(waveform):
        repeated = np.tile(waveform, SAMPLES // len(waveform))
        padded[: len(repeated)] = repeated
    reflected = np.pad(padded, FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, FFT)[::HOP]
    power = np.abs(np.fft.rfft(frames * _window(), axis=1)) ** 2
    return (10 * np.log10(np.maximum(power @ _filters(slaney=slaney), _FLOOR))).astype(np.float32)


@cache
def _window() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)


@cache
def _filters(*, slaney: bool) -> NDArray[np.float64]:
    """Return the mel filters, (FFT / 2 + 1, BANDS): triangles that are evenly spaced on a mel scale."""
    to_mel, to_hertz = (_hertz_to_slaney, _slaney_to_hertz) if slaney else (hertz_to_mel, mel_to_hertz)
    edges = to_hertz(np.linspace(to_mel(_LOW), to_mel(_HIGH), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    return triangles * 2 / (edges[2:] - edges[:-2]) if slaney else triangles


def _hertz_to_slaney(frequency: ArrayLike) -> NDArray[np.float64]:
    """Convert to Slaney's mel scale: linear to 1000 Hz, which is 15, then 27 mel for each factor of 6.4."""
    values = np.asarray(frequency, np.float64)
    return np.where(values < _BEND, values * 0.015, 15 + np.log(np.maximum(values, _BEND) / _BEND) * _PER_FACTOR)


def _slaney_to_hertz(mel: ArrayLike) -> NDArray[np.float64]:
    """Convert from Slaney's mel scale."""
    values = np.asarray(mel, np.float64)
    return np.where(values < 15, values / 0.015, _BEND * np.exp((values - 15) / _PER_FACTOR))
