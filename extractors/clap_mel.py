"""Log-mel spectrogram that CLAP takes: ten seconds at 48 kHz, 64 mel bands, decibels. NumPy only."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .mel import hertz_to_mel, mel_to_hertz
from .sampling import CLAP_RATE

RATE = CLAP_RATE
SAMPLES = 10 * RATE
FFT, HOP, BANDS = 1024, 480, 64
FRAMES = SAMPLES // HOP + 1
_LOW, _HIGH = 50.0, 14_000.0  # Hz
_FLOOR = 1e-10  # of power


def clap_mel(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """Compute CLAP's log-mel spectrogram of up to ten seconds of audio.

    Shorter audio is repeated as often as it fits into ten seconds, then padded with silence. Periodic Hann window,
    centred frames with reflected ends, power, HTK mel bands from 50 to 14,000 Hz, 10 log10.

    Args:
        waveform: mono audio at 48 kHz, (n,) in [-1, 1]; samples after ten seconds are ignored.

    Returns:
        (FRAMES, BANDS) in decibels.

    Source:
        LAION-AI/CLAP, and ClapFeatureExtractor of transformers (padding "repeatpad").
    """
    padded = np.zeros(SAMPLES)
    waveform = np.asarray(waveform, np.float64)[:SAMPLES]
    if len(waveform):
        repeated = np.tile(waveform, SAMPLES // len(waveform))
        padded[: len(repeated)] = repeated
    reflected = np.pad(padded, FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, FFT)[::HOP]
    power = np.abs(np.fft.rfft(frames * _window(), axis=1)) ** 2
    return (10 * np.log10(np.maximum(power @ _filters(), _FLOOR))).astype(np.float32)


@cache
def _window() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)


@cache
def _filters() -> NDArray[np.float64]:
    """Return the mel filters, (FFT / 2 + 1, BANDS): triangles of height 1, evenly spaced on HTK's mel scale."""
    edges = mel_to_hertz(np.linspace(hertz_to_mel(_LOW), hertz_to_mel(_HIGH), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
