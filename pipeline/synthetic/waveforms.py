"""Building blocks of generated audio: mono waveforms and envelopes at `RATE`, float64; lengths are in samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # samples per second
Waveform = NDArray[np.float64]


def time_axis(length: int) -> Waveform:
    """Return the time of each sample, in seconds."""
    return np.arange(length) / RATE


def glide(length: int, *points: float) -> Waveform:
    """Interpolate linearly between values that are evenly spaced in time."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(points)), points)


def harmonics(pitch: Waveform, strengths: Sequence[float]) -> Waveform:
    """Sum the harmonics of a changing pitch, as far as they lie below 7.5 kHz.

    Args:
        pitch: (samples,) fundamental frequency, in Hz.
        strengths: amplitude of each harmonic; the first is the fundamental's.

    Returns:
        (samples,) waveform.
    """
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    total = np.zeros(len(pitch))
    for number, strength in enumerate(strengths, 1):
        total += strength * np.sin(number * phase) * (number * pitch < 7500)
    return total


def sawtooth(pitch: Waveform, count: int = 30, slope: float = 1.0) -> Waveform:
    """Sum `count` harmonics of a pitch in Hz whose amplitudes fall as 1 / number ** slope."""
    return harmonics(pitch, [1 / number**slope for number in range(1, count + 1)])


def voice(pitch: Waveform, formants: Sequence[tuple[float, float]], count: int = 40) -> Waveform:
    """Sum harmonics shaped by the resonances of a vocal tract.

    Args:
        pitch: (samples,) fundamental frequency, in Hz.
        formants: centre and width of each resonance, in Hz.
        count: number of harmonics.

    Returns:
        (samples,) waveform.
    """
    mean = float(pitch.mean())
    strengths = []
    for number in range(1, count + 1):
        gain = sum(1 / (1 + ((number * mean - center) / width) ** 2) for center, width in formants)
        strengths.append(gain / number**0.5)
    return harmonics(pitch, strengths)


def noise(rng: np.random.Generator, length: int, low: float = 0, high: float = 8000, tilt: float = 0) -> Waveform:
    """Generate band-limited Gaussian noise with a standard deviation of 1.

    Args:
        rng: source of randomness.
        length: samples.
        low: lowest frequency, in Hz.
        high: highest frequency, in Hz.
        tilt: the amplitude spectrum falls as f ** -tilt; 0 is white.

    Returns:
        (length,) waveform.
    """
    spectrum = np.fft.rfft(rng.standard_normal(max(length, 2)))
    frequency = np.fft.rfftfreq(max(length, 2), 1 / RATE)
    spectrum *= (frequency >= low) & (frequency <= high)
    spectrum[1:] *= (frequency[1:] / 1000) ** -tilt
    samples = np.fft.irfft(spectrum, max(length, 2))[:length]
    return samples / (samples.std() + 1e-12)


def decay(length: int, half_life: float) -> Waveform:
    """Return an exponential decay from 1 with a half-life in seconds and an attack of 32 samples."""
    return 0.5 ** (time_axis(length) / half_life) * np.minimum(1, np.arange(length) / 32)


def trapezoid(length: int, rise: float = 0.1) -> Waveform:
    """Return an envelope that rises from 0 to 1 and falls back; `rise` is either slope's share of the length."""
    edge = np.linspace(0, 1, length)
    return np.clip(np.minimum(edge, 1 - edge) / rise, 0, 1)


def sequence(length: int, onsets: Sequence[float], parts: Sequence[Waveform]) -> Waveform:
    """Add waveforms at their onsets.

    Args:
        length: samples of the result; what extends beyond is cut.
        onsets: seconds, one for each part.
        parts: waveforms of any length.

    Returns:
        (length,) waveform.
    """
    total = np.zeros(length)
    for onset, part in zip(onsets, parts, strict=True):
        first = int(onset * RATE)
        room = min(len(part), length - first)
        if room > 0:
            total[first : first + room] += part[:room]
    return total


def beats(rng: np.random.Generator, length: int, rate: float, jitter: float = 0.1) -> list[float]:
    """Draw onsets of a beat, in seconds.

    Args:
        rng: source of randomness.
        length: samples in which the onsets lie.
        rate: beats per second.
        jitter: largest deviation of an interval, as a share of it.

    Returns:
        Ascending onsets; the first lies within half an interval.
    """
    onsets, now = [], rng.uniform(0, 0.5 / rate)
    while now < length / RATE:
        onsets.append(now)
        now += (1 + jitter * rng.uniform(-1, 1)) / rate
    return onsets


def vibrato(rng: np.random.Generator, length: int, depth: float) -> Waveform:
    """Return a factor for a pitch that swings between 1 - depth and 1 + depth, five to six times per second."""
    return 1 + depth * np.sin(2 * np.pi * rng.uniform(5, 6) * time_axis(length) + rng.uniform(0, 6))


def normalize_rms(waveform: Waveform) -> Waveform:
    """Scale a waveform to an RMS of 1 over its samples above 5 % of the peak; silence is returned unchanged."""
    loud = np.abs(waveform) > 0.05 * np.abs(waveform).max()
    return waveform / (np.sqrt(np.mean(waveform[loud] ** 2)) + 1e-12) if loud.any() else waveform
