"""Bands of a plot that show the media: a strip of frames, and the log-mel or the waveform of the audio."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....extractors.mel import FRAME_STEP, LOG_OFFSET
from ....extractors.sampling import SAMPLE_RATE
from ...decode.open_media import open_media
from ...decode.options import WHOLE, DecodeOptions, Part
from .figure import DPI, PALE, PlotBand
from .thumbnails import frames_at, log_mel_spectrogram, waveform_envelope

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FRAMES_HEIGHT, _AUDIO_HEIGHT = 0.62, 0.52  # inches
_WAVEFORM_COLOUR = "#59636e"
_MAX_FRAMES = 24
_WAVEFORM_COLUMNS = 1200


def media_bands(media: Path, end: float, width: float, timeout: float, *, start: int = 0) -> Iterator[PlotBand]:
    """Yield a band of frames and a band of audio, for the streams that the file has.

    Args:
        media: the file.
        end: of the time axis, seconds.
        width: of the time axis, inches.
        timeout: seconds without progress after which a decoder is stopped.
        start: of the time axis, seconds.

    Raises:
        MediaError: the file is not media.
        DecodeTimeoutError: a decoder hangs.
    """
    with open_media(media, decoding=DecodeOptions(timeout=timeout), streams=()) as opened:
        shown_size = opened.shown_size
    if shown_size is not None:
        frame_width, frame_height = shown_size
        count = min(max(1, round(width / _FRAMES_HEIGHT * frame_height / frame_width)), _MAX_FRAMES)
        times = start + (np.arange(count) + 0.5) * (end - start) / count
        frames = frames_at(media, times.tolist(), height=round(_FRAMES_HEIGHT * DPI), timeout=timeout)
        if any(frame is not None for frame in frames):
            yield PlotBand(_FRAMES_HEIGHT, lambda axes: _draw_frames(axes, frames, start, end, width), grid=0.0)
    part = Part(start, math.ceil(end)) if start else WHOLE
    length = end - start
    mel = log_mel_spectrogram(media, part=part, timeout=timeout)
    if mel is not None:
        yield PlotBand(_AUDIO_HEIGHT, lambda axes: _draw_mel(axes, mel, start), grid=0.35)
        return
    envelope = waveform_envelope(media, _WAVEFORM_COLUMNS, duration=length, part=part, timeout=timeout)
    if envelope is not None:
        yield PlotBand(_AUDIO_HEIGHT, lambda axes: _draw_waveform(axes, envelope, start, end))


def _draw_frames(
    axes: Axes, frames: Sequence[NDArray[np.uint8] | None], start: float, end: float, width: float
) -> None:
    """Draw each frame in the middle of its time interval, with its sides cropped where the interval is narrower."""
    interval = (end - start) / len(frames)
    max_width = width / len(frames) / _FRAMES_HEIGHT * 0.97  # relative to the height; leaves a small gap
    for index, frame in enumerate(frames):
        if frame is None:
            continue
        frame_height, frame_width = frame.shape[:2]
        kept = max(1, min(frame_width, round(max_width * frame_height)))
        left = (frame_width - kept) // 2
        half = kept / frame_height * _FRAMES_HEIGHT / width * (end - start) / 2
        middle = start + (index + 0.5) * interval
        axes.imshow(frame[:, left : left + kept], extent=(middle - half, middle + half, 0, 1), aspect="auto")
    axes.set_ylim(0, 1)
    axes.set_facecolor("white")
    _label_band(axes, "film")


def _draw_mel(axes: Axes, mel: NDArray[np.float32], start: float) -> None:
    length = len(mel) * FRAME_STEP / SAMPLE_RATE
    low, high = math.log(LOG_OFFSET), max(1.0, float(mel.max()))
    extent = (start, start + length, 0, mel.shape[1])
    axes.imshow(mel.T, cmap="magma", vmin=low, vmax=high, aspect="auto", origin="lower", extent=extent)
    _label_band(axes, "log-mel")


def _draw_waveform(axes: Axes, envelope: NDArray[np.float32], start: float, end: float) -> None:
    times = start + (np.arange(len(envelope)) + 0.5) * (end - start) / len(envelope)
    axes.fill_between(times, envelope[:, 0], envelope[:, 1], color=_WAVEFORM_COLOUR, linewidth=0.3, zorder=3)
    peak = max(0.05, float(np.abs(envelope).max()))  # keeps noise in silent audio small
    axes.set_ylim(-1.05 * peak, 1.05 * peak)
    _label_band(axes, "waveform")


def _label_band(axes: Axes, text: str) -> None:
    axes.set_yticks([])
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "center_baseline", "color": PALE}
    axes.annotate(text, (0, 0.5), (-4, 0), xycoords="axes fraction", **style)
