"""Read the audio of a media file, resampled to 16 kHz mono, per second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import SAMPLE_RATE
from ..errors import MediaError
from .base import DecodeReport, check_length, warn_if_short
from .ffmpeg import ffmpeg_command, ffmpeg_input
from .ffmpeg_log import DecodeLog, check_result
from .probe import MediaInfo
from .process import DEFAULT_TIMEOUT, DecoderProcess
from .resampling import (
    DEFAULT_RESAMPLER,
    PUBLISHED_RATE,
    Samples,
    get_resampler,
    published_track,
    resamplable,
    resample_seconds,
)


class AudioReader:
    """Reader of mono audio: iteration gives seconds, (16000,) float64 in [-1, 1], the last one zero-padded.

    Memory does not grow with the file. ffmpeg decodes the audio whichever reader decodes the frames: decord would
    hold the audio of the whole file in memory.

    Attributes:
        media: the probed file.
        stream: the audio stream that is decoded.
        report: complete after the iteration; `decoded` counts samples at the decoded rate, `end` is their duration.
    """

    def __init__(
        self,
        media: MediaInfo,
        resampling: Literal["nearest", "filtered"],
        *,
        resampler: str = DEFAULT_RESAMPLER,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """Choose the stream; nothing is decoded yet.

        Args:
            media: the probed file.
            resampling: `nearest`, the published path, or `filtered`, anti-aliased; see `Profile.resampling`.
            resampler: key of `resampling.RESAMPLERS`, for `filtered` only.
            timeout: seconds without progress after which decoding is stopped.

        Raises:
            MediaError: the file has no audio stream.
            ValueError: the resampler is unknown.
        """
        if media.audio is None:
            raise MediaError(media.path, "has no audio stream")
        self.media = media
        self.stream = media.audio
        self.timeout = timeout
        self.report = DecodeReport("ffmpeg")
        self._resample = get_resampler(resampler)
        self._filtered = resampling == "filtered"
        self._rate = resamplable(self.stream.sample_rate) if self._filtered else PUBLISHED_RATE
        self._channels = 1 if self._filtered and self.stream.channels == "mono" else 2
        self._sample_type = np.dtype("<f4" if self._filtered else "<i2")

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        log = DecodeLog(self.report)
        with DecoderProcess(self.media.path, self._command, timeout=self.timeout, on_line=log) as process:
            yield from self._filtered_seconds(process) if self._filtered else self._nearest_seconds(process)
            self.report.end = self.report.decoded / self._rate
            check_result(self.media, process, self.report, "audio")
        warn_if_short(self.report, "audio", self.media.duration)

    def _filtered_seconds(self, process: DecoderProcess) -> Iterator[Samples]:
        seconds = self._decoded_seconds(process)
        return seconds if self._rate == SAMPLE_RATE else resample_seconds(seconds, self._rate, self._resample)

    def _decoded_seconds(self, process: DecoderProcess) -> Iterator[Samples]:
        while len(second := self._read(process, self._rate)):
            yield _zero_pad(second.mean(axis=1), self._rate)

    def _nearest_seconds(self, process: DecoderProcess) -> Iterator[Samples]:
        pending = np.empty(0)
        for block in published_track(lambda count: self._read(process, count), self.media.duration):
            pending = np.concatenate([pending, block.mean(axis=1)])
            if len(pending) >= SAMPLE_RATE:
                yield pending[:SAMPLE_RATE]
                pending = pending[SAMPLE_RATE:]
        if len(pending):
            yield _zero_pad(pending, SAMPLE_RATE)

    def _read(self, process: DecoderProcess, count: int) -> Samples:
        """Read up to `count` samples, (n, channels) in [-1, 1]."""
        block = np.empty((max(0, count), self._channels), self._sample_type)
        length = process.read_into(block) // (self._sample_type.itemsize * self._channels)
        self.report.decoded += length
        check_length(self.media, self.report.decoded / self._rate)
        samples = block[:length].astype(np.float64) / (1 if self._filtered else 32768)
        # A damaged file can decode to infinities, and the filter would spread one over a whole window.
        return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)

    def _command(self, descriptor: int) -> Sequence[str]:
        stream: Any = ffmpeg_input(descriptor)[str(self.stream.index)]
        if self._filtered:  # keeps audio that starts late, or has gaps, at its time
            stream = stream.filter("aresample", **{"async": 1, "first_pts": 0})
        sample_format = "f32le" if self._filtered else "s16le"
        output = stream.output(
            "pipe:1", f=sample_format, acodec=f"pcm_{sample_format}", ar=self._rate, ac=self._channels
        )
        return ffmpeg_command(output, log_level="verbose")


def _zero_pad(samples: Samples, length: int) -> Samples:
    return samples if len(samples) == length else np.pad(samples, (0, length - len(samples)))
