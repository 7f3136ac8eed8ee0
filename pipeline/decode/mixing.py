"""Convert decoded audio frames to samples and mix their channels to one. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

_SIDE = math.sqrt(0.5)  # weight of a channel that a stereo mix puts to one side at -3 dB (ITU-R BS.775)
_CENTRE = 2 * _SIDE  # of one that it puts to both sides at -3 dB
_WEIGHTS = {"FL": 1.0, "FR": 1.0, "FC": _CENTRE, "BC": _SIDE, "LFE": 0.0, "LFE2": 0.0}
_DEFAULT_LAYOUTS = {  # FFmpeg's order of channels where a file states only their number
    3: ("FL", "FR", "LFE"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
_UNKNOWN = "NONE"  # FFmpeg's name of a channel without a position
_FULL_SCALE = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


def to_float(samples: NDArray[Any], sample_format: str) -> Samples:
    """Convert samples of any of FFmpeg's formats to floating point.

    Args:
        samples: any shape.
        sample_format: FFmpeg's name: u8, s16, s32, s64, flt, dbl, or one of them with a p (planar).

    Returns:
        The same shape, full scale at 1; NaN becomes 0 and infinity full scale.
    """
    packed = sample_format.removesuffix("p")
    values = samples.astype(np.float64)
    if packed in _FULL_SCALE:
        values = (values - 128.0 if packed == "u8" else values) / _FULL_SCALE[packed]
    if math.isfinite(values.sum()):  # many times faster than a search for NaN
        return values
    return np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0)


@cache
def mono_weights(channels: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the weights of the channels in a mono mix, which keeps the level of the sound.

    The weights are those of a stereo mix whose two sides are averaged, divided by their sum: equal sound in all
    channels keeps its amplitude, and no sum leaves [-1, 1]. Channels without a known position have equal weights.

    Args:
        channels: FFmpeg's name of each channel: FL, FR, FC, LFE, ...

    Returns:
        (channels,), with the sum 1.
    """
    if set(channels) == {_UNKNOWN}:
        channels = _DEFAULT_LAYOUTS.get(len(channels), channels)
    if len(channels) <= 2 or not {"FL", "FR", "FC"} & set(channels) or len(set(channels)) < len(channels):
        weights = np.ones(len(channels))
    else:
        weights = np.array([_WEIGHTS.get(name, _SIDE) for name in channels])
    return weights / weights.sum()


def mix_to_mono(samples: Samples, channels: Sequence[str]) -> Samples:
    """Mix channels to one.

    Args:
        samples: (channels, n).
        channels: FFmpeg's name of each channel.

    Returns:
        (n,).
    """
    return samples[0] if len(samples) == 1 else mono_weights(tuple(channels)) @ samples


class PhaseMeter:
    """Comparison of the power of channels with that of their mix: sound in opposite phase cancels."""

    _LOST = 0.01  # share of the power that is left where a mix counts as cancelled
    _AUDIBLE = 1e-6  # mean power of a channel, of full scale

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._channels = self._mix = 0.0
        self._samples = 0

    def add(self, samples: Samples, mix: Samples) -> None:
        """Add samples (channels, n) and their mix (n,)."""
        self._samples += len(mix)
        self._channels += float(np.vdot(samples, samples)) / len(samples)
        self._mix += float(np.vdot(mix, mix))

    @property
    def cancels(self) -> bool:
        """Whether the channels can be heard and their mix cannot."""
        audible = self._channels > self._AUDIBLE * max(1, self._samples)
        return audible and self._mix < self._LOST * self._channels

    @property
    def silent(self) -> bool:
        """Whether no channel can be heard."""
        return self._channels <= self._AUDIBLE * 1e-3 * max(1, self._samples)
