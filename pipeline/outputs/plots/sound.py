"""Envelope and log-mel spectrogram of a whole sound track, decoded in one pass and in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....extractors.mel import FRAME_LENGTH, FRAME_STEP, LOG_OFFSET, MEL_BANDS, log_mel
from ....extractors.sampling import SAMPLE_RATE
from ...decode.ffmpeg import ffmpeg_command, ffmpeg_input
from ...decode.open_media import Second
from ...decode.process import DEFAULT_TIMEOUT, DecoderProcess
from .thumbnails import envelope_of

_MAX_FRAMES = 5  # of the spectrogram in one column


class Sound(NamedTuple):
    """What is drawn of a sound track."""

    envelope: NDArray[np.float32]  # (columns, 2): smallest and largest sample of each interval, in [-1, 1]
    log_mel: NDArray[np.float32]  # (columns, 64): mean of up to five frames of each interval, low frequencies first


class _Spectrogram:
    """Log-mel frames at equal distances, computed while the samples arrive."""

    def __init__(self, columns: int, duration: float) -> None:
        width = duration * SAMPLE_RATE / columns
        self.per_column = max(1, min(_MAX_FRAMES, int(width // FRAME_STEP)))
        count = columns * self.per_column
        middles = (np.arange(count) + 0.5) * width / self.per_column
        self._starts = np.maximum(0, middles - FRAME_LENGTH / 2).astype(np.intp)
        self._frames = np.full((count, MEL_BANDS), math.log(LOG_OFFSET), np.float32)
        self._filled = 0
        self._kept = np.zeros(0, np.float32)  # the end of the samples before
        self._position = 0  # of the first kept sample

    def add(self, samples: NDArray[np.float32]) -> None:
        """Compute the frames that the next samples complete."""
        samples = np.concatenate([self._kept, samples])
        ready = int(np.searchsorted(self._starts, self._position + len(samples) - FRAME_LENGTH, "right"))
        if ready > self._filled:
            starts = self._starts[self._filled : ready] - self._position
            windows = samples[starts[:, None] + np.arange(FRAME_LENGTH)]
            self._frames[self._filled : ready] = log_mel(windows.astype(np.float64))[:, 0]
            self._filled = ready
        dropped = max(0, len(samples) - FRAME_LENGTH)
        self._kept, self._position = samples[dropped:], self._position + dropped

    def columns(self) -> NDArray[np.float32]:
        """Return the mean of the frames of each column."""
        return self._frames.reshape(-1, self.per_column, MEL_BANDS).mean(axis=1)


def read_sound(
    path: Path, duration: float, *, columns: int, mel_columns: int, timeout: float = DEFAULT_TIMEOUT
) -> Sound | None:
    """Decode a sound track and compute what is drawn of it.

    Args:
        path: a media file.
        duration: seconds that the columns cover, from the container's time zero.
        columns: of the envelope.
        mel_columns: of the spectrogram, at least 400 samples wide.
        timeout: seconds without progress after which the decoder is stopped.

    Returns:
        Envelope and spectrogram, silent where there is no sound. None where none can be decoded.

    Raises:
        MediaError: the file cannot be opened.
        DecodeTimeoutError: the decoder hangs.
    """
    spectrogram = _Spectrogram(mel_columns, duration)
    count = 0

    def seconds(process: DecoderProcess) -> Iterator[Second]:
        nonlocal count
        while count < duration:
            samples = np.zeros(SAMPLE_RATE, np.float32)
            if not process.read_into(samples):
                return
            samples = np.nan_to_num(samples).clip(-1, 1)
            spectrogram.add(samples)
            yield Second(count, None, samples)
            count += 1

    with DecoderProcess(path, _command, timeout=timeout) as process:
        envelope = envelope_of(seconds(process), columns, duration)
    return Sound(envelope, spectrogram.columns()) if count else None


def _command(descriptor: int) -> Sequence[str]:
    """Return the command that writes mono float32 samples from the container's time zero on."""
    # By default, channels are summed to louder samples than full scale where the output is floating-point.
    mixing = {"out_chlayout": "mono", "rematrix_maxval": 1, "async": 1, "first_pts": 0}
    sound = ffmpeg_input(descriptor)["a:0"].filter("aresample", SAMPLE_RATE, **mixing)
    output = sound.output("pipe:1", f="f32le")
    return ffmpeg_command(output, log_level="error")
