"""What generated sounds are made of. Everything is mono at `RATE`, float64; lengths are in samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # samples a second
Sound = NDArray[np.float64]


def seconds(length: int) -> Sound:
    """The time of each sample."""
    return np.arange(length) / RATE


def glide(length: int, *points: float) -> Sound:
    """A line through these values, evenly spaced in time."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(points)), points)


def harmonics(pitch: Sound, strengths: Sequence[float]) -> Sound:
    """Overtones of a changing pitch in Hz, the first is the pitch itself; none above 7.5 kHz."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    total = np.zeros(len(pitch))
    for number, strength in enumerate(strengths, 1):
        total += strength * np.sin(number * phase) * (number * pitch < 7500)
    return total


def sawtooth(pitch: Sound, count: int = 30, slope: float = 1.0) -> Sound:
    """Overtones that fall off as 1 / number ** slope."""
    return harmonics(pitch, [1 / number**slope for number in range(1, count + 1)])


def voice(pitch: Sound, formants: Sequence[tuple[float, float]], count: int = 40) -> Sound:
    """Overtones under resonances (Hz, width in Hz), as a throat makes them."""
    mean = float(pitch.mean())
    strengths = []
    for number in range(1, count + 1):
        gain = sum(1 / (1 + ((number * mean - center) / width) ** 2) for center, width in formants)
        strengths.append(gain / number**0.5)
    return harmonics(pitch, strengths)


def noise(rng: np.random.Generator, length: int, low: float = 0, high: float = 8000, tilt: float = 0) -> Sound:
    """Gaussian noise between two frequencies, falling off as f ** -tilt; its deviation is 1."""
    spectrum = np.fft.rfft(rng.standard_normal(max(length, 2)))
    frequency = np.fft.rfftfreq(max(length, 2), 1 / RATE)
    spectrum *= (frequency >= low) & (frequency <= high)
    spectrum[1:] *= (frequency[1:] / 1000) ** -tilt
    made = np.fft.irfft(spectrum, max(length, 2))[:length]
    return made / (made.std() + 1e-12)


def decay(length: int, half_life: float) -> Sound:
    """From 1 towards 0, halved in so many seconds, with a soft beginning."""
    return 0.5 ** (seconds(length) / half_life) * np.minimum(1, np.arange(length) / 32)


def hump(length: int, rise: float = 0.1) -> Sound:
    """From 0 up to 1 and back; `rise` is the share of either slope."""
    edge = np.linspace(0, 1, length)
    return np.clip(np.minimum(edge, 1 - edge) / rise, 0, 1)


def sequence(length: int, onsets: Sequence[float], parts: Sequence[Sound]) -> Sound:
    """Parts laid down at their onsets (in seconds); what goes beyond the end is cut."""
    total = np.zeros(length)
    for onset, part in zip(onsets, parts, strict=True):
        first = int(onset * RATE)
        room = min(len(part), length - first)
        if room > 0:
            total[first : first + room] += part[:room]
    return total


def beats(rng: np.random.Generator, length: int, rate: float, jitter: float = 0.1) -> list[float]:
    """Onsets, in seconds, about `rate` a second."""
    onsets, now = [], rng.uniform(0, 0.5 / rate)
    while now < length / RATE:
        onsets.append(now)
        now += (1 + jitter * rng.uniform(-1, 1)) / rate
    return onsets


def vibrato(rng: np.random.Generator, length: int, depth: float) -> Sound:
    """A factor for pitches, five to six times a second."""
    return 1 + depth * np.sin(2 * np.pi * rng.uniform(5, 6) * seconds(length) + rng.uniform(0, 6))


def level(sound: Sound) -> Sound:
    """The same with a deviation of 1 where it sounds."""
    loud = np.abs(sound) > 0.05 * np.abs(sound).max()
    return sound / (np.sqrt(np.mean(sound[loud] ** 2)) + 1e-12) if loud.any() else sound
