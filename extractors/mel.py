"""Log-mel front end of VGGish (Hershey et al., ICASSP 2017), vectorised in NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .sampling import SAMPLE_RATE

FRAME_LENGTH = 400  # samples: 25 ms
FRAME_STEP = 160  # samples: 10 ms
FFT_LENGTH = 512
MEL_BANDS = 64
EXAMPLE_FRAMES = 96  # log-mel frames of one example; a second has 98, the first 96 are used, as published
MEL_MIN_HZ, MEL_MAX_HZ = 125.0, 7500.0
LOG_OFFSET = 0.01


def hertz_to_mel(frequency: ArrayLike) -> NDArray[np.float64]:
    """Convert frequencies to the HTK mel scale, ``1127 ln(1 + f / 700)``.

    Args:
        frequency: in Hz, any shape.

    Returns:
        Mel values of the same shape.
    """
    return 1127.0 * np.log1p(np.asarray(frequency, np.float64) / 700.0)


def mel_to_hertz(mel: ArrayLike) -> NDArray[np.float64]:
    """Convert the HTK mel scale to frequencies, the inverse of `hertz_to_mel`.

    Args:
        mel: mel values, any shape.

    Returns:
        Frequencies in Hz, of the same shape.
    """
    return 700.0 * np.expm1(np.asarray(mel, np.float64) / 1127.0)


@cache
def mel_matrix() -> NDArray[np.float64]:
    """Return the filter bank that maps a magnitude spectrum to mel bands.

    The triangles are linear in mel, not in Hz as those of librosa and torchaudio, without area normalisation; the row
    of the DC bin is 0.

    Returns:
        (257, 64), bins by bands.

    Source:
        The published VGGish front end (TensorFlow models, research/audioset/vggish).
    """
    bins = hertz_to_mel(np.linspace(0.0, SAMPLE_RATE / 2, FFT_LENGTH // 2 + 1))[:, None]
    edges = np.linspace(hertz_to_mel(MEL_MIN_HZ), hertz_to_mel(MEL_MAX_HZ), MEL_BANDS + 2)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    matrix = np.maximum(0.0, np.minimum((bins - lower) / (center - lower), (upper - bins) / (upper - center)))
    matrix[0] = 0.0
    return matrix


def log_mel(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """Compute log-mel frames of a mono waveform.

    Frames of 400 samples every 160, no padding, periodic Hann window, magnitude of the 512-point spectrum.

    Args:
        waveform: (..., S) float in [-1, 1], S samples at 16 kHz.

    Returns:
        (..., 1 + (S - 400) // 160, 64) float32, ln(mel + 0.01).

    Raises:
        ValueError: the waveform is shorter than one frame.

    Source:
        The published VGGish front end (TensorFlow models, research/audioset/vggish).
    """
    if waveform.shape[-1] < FRAME_LENGTH:
        raise ValueError(f"the waveform has {waveform.shape[-1]} samples, at least {FRAME_LENGTH} are needed")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / FRAME_LENGTH)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME_LENGTH, axis=-1)[..., ::FRAME_STEP, :]
    magnitude = np.abs(np.fft.rfft(frames * window, FFT_LENGTH))
    return np.log(magnitude @ mel_matrix() + LOG_OFFSET).astype(np.float32)
