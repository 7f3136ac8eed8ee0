"""What a plot shows of the media: a strip of pictures, and the log-mel or the waveform of the sound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....extractors.mel import FRAME_STEP, LOG_OFFSET
from ....extractors.sampling import SAMPLE_RATE
from ...decode.probe import probe
from .figure import DPI, PALE, PlotBand
from .thumbnails import frames_at, loudness, spectrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FILM, _SOUND = 0.62, 0.52  # inches
_SOUND_GREY = "#59636e"
_MAX_PICTURES = 24
_COLUMNS = 1200  # of the waveform


def media_bands(media: Path, end: float, width: float, timeout: float) -> Iterator[PlotBand]:
    """The film strip and the sound, as far as the file has them. width: of the time axis, in inches."""
    video = probe(media, timeout=timeout).video
    if video is not None:
        across, down = video.shown_size
        count = min(max(1, round(width / _FILM * down / across)), _MAX_PICTURES)
        times = (np.arange(count) + 0.5) * end / count
        pictures = frames_at(media, times.tolist(), height=round(_FILM * DPI), timeout=timeout)
        if any(picture is not None for picture in pictures):
            yield PlotBand(_FILM, lambda axes: _draw_film(axes, pictures, end, width), grid=0.0)
    frames = spectrogram(media, timeout=timeout)
    envelope = loudness(media, _COLUMNS, duration=end, timeout=timeout) if frames is None else None
    if frames is not None:
        yield PlotBand(_SOUND, lambda axes: _draw_mel(axes, frames), grid=0.35)
    elif envelope is not None:
        yield PlotBand(_SOUND, lambda axes: _draw_wave(axes, envelope, end))


def _draw_film(axes: Axes, pictures: Sequence[NDArray[np.uint8] | None], end: float, width: float) -> None:
    """Each picture in the middle of its part of the time, cut at its sides where that is too narrow."""
    part = end / len(pictures)
    room = width / len(pictures) / _FILM * 0.97  # of the height of a picture; a little is left between them
    for number, picture in enumerate(pictures):
        if picture is None:
            continue
        height, across = picture.shape[:2]
        kept = max(1, min(across, round(room * height)))
        start = (across - kept) // 2
        half = kept / height * _FILM / width * end / 2
        middle = (number + 0.5) * part
        axes.imshow(picture[:, start : start + kept], extent=(middle - half, middle + half, 0, 1), aspect="auto")
    axes.set_ylim(0, 1)
    axes.set_facecolor("white")
    _label_band(axes, "film")


def _draw_mel(axes: Axes, frames: NDArray[np.float32]) -> None:
    length = len(frames) * FRAME_STEP / SAMPLE_RATE
    low, high = math.log(LOG_OFFSET), max(1.0, float(frames.max()))
    where = (0, length, 0, frames.shape[1])
    axes.imshow(frames.T, cmap="magma", vmin=low, vmax=high, aspect="auto", origin="lower", extent=where)
    _label_band(axes, "log-mel")


def _draw_wave(axes: Axes, envelope: NDArray[np.float32], end: float) -> None:
    times = (np.arange(len(envelope)) + 0.5) * end / len(envelope)
    axes.fill_between(times, envelope[:, 0], envelope[:, 1], color=_SOUND_GREY, linewidth=0.3, zorder=3)
    peak = max(0.05, float(np.abs(envelope).max()))  # so that hiss in silence stays small
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    _label_band(axes, "waveform")


def _label_band(axes: Axes, text: str) -> None:
    axes.set_yticks([])
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "center_baseline", "color": PALE}
    axes.annotate(text, (0, 0.5), (-4, 0), xycoords="axes fraction", **style)
