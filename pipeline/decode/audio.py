"""The sound of a media file at 16 kHz, mono, one second at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import SAMPLE_RATE
from ..errors import MediaError
from .base import DecodeReport, check_length, warn_if_short
from .ffmpeg import ffmpeg_command, ffmpeg_input
from .ffmpeg_log import DecodeLog, check_result
from .probe import MediaInfo
from .process import DEFAULT_TIMEOUT, DecoderProcess
from .resampling import PUBLISHED_RATE, Samples, published_track, resamplable, resample_seconds


class AudioReader:
    """Iterating gives seconds of mono sound, (16000,) float64 in [-1, 1]; the last is completed with silence.

    sound: "nearest" is the published path, "filtered" the anti-aliased one (see the profiles). Memory does not grow
    with the file. `report.decoded` counts samples at the decoded rate, `report.end` the seconds they last.
    Raises MediaError for media without sound. ffmpeg decodes it whatever reads the frames: decord would hold the
    sound of the whole file in memory.
    """

    def __init__(self, media: MediaInfo, sound: str, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        if media.audio is None:
            raise MediaError(media.path, "has no audio stream")
        self.media = media
        self.stream = media.audio
        self.timeout = timeout
        self.report = DecodeReport("ffmpeg")
        self._filtered = sound == "filtered"
        self._rate = resamplable(self.stream.sample_rate) if self._filtered else PUBLISHED_RATE
        self._channels = 1 if self._filtered and self.stream.channels == "mono" else 2
        self._sample = np.dtype("<f4" if self._filtered else "<i2")

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        log = DecodeLog(self.report)
        with DecoderProcess(self.media.path, self._command, timeout=self.timeout, on_line=log) as process:
            yield from self._filter(process) if self._filtered else self._pick(process)
            self.report.end = self.report.decoded / self._rate
            check_result(self.media, process, self.report, "sound")
        warn_if_short(self.report, "the sound", self.media.duration)

    def _filter(self, process: DecoderProcess) -> Iterator[Samples]:
        seconds = self._seconds(process)
        return seconds if self._rate == SAMPLE_RATE else resample_seconds(seconds, self._rate)

    def _seconds(self, process: DecoderProcess) -> Iterator[Samples]:
        while len(second := self._read(process, self._rate)):
            yield _complete(second.mean(axis=1), self._rate)

    def _pick(self, process: DecoderProcess) -> Iterator[Samples]:
        held = np.empty(0)
        for block in published_track(lambda count: self._read(process, count), self.media.duration):
            held = np.concatenate([held, block.mean(axis=1)])
            if len(held) >= SAMPLE_RATE:
                yield held[:SAMPLE_RATE]
                held = held[SAMPLE_RATE:]
        if len(held):
            yield _complete(held, SAMPLE_RATE)

    def _read(self, process: DecoderProcess, count: int) -> Samples:
        """Up to `count` samples, (n, channels) in [-1, 1]."""
        block = np.empty((max(0, count), self._channels), self._sample)
        length = process.read_into(block) // (self._sample.itemsize * self._channels)
        self.report.decoded += length
        check_length(self.media, self.report.decoded / self._rate)
        samples = block[:length].astype(np.float64) / (1 if self._filtered else 32768)
        # A damaged file can decode to infinities, and the filter would spread one over a whole window.
        return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)

    def _command(self, descriptor: int) -> Sequence[str]:
        stream: Any = ffmpeg_input(descriptor)[str(self.stream.index)]
        if self._filtered:  # sound that starts late, or has holes, keeps its place in time
            stream = stream.filter("aresample", **{"async": 1, "first_pts": 0})
        form = "f32le" if self._filtered else "s16le"
        output = stream.output("pipe:1", f=form, acodec=f"pcm_{form}", ar=self._rate, ac=self._channels)
        return ffmpeg_command(output, log_level="verbose")


def _complete(samples: Samples, length: int) -> Samples:
    return samples if len(samples) == length else np.pad(samples, (0, length - len(samples)))
