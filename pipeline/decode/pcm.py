"""Decoded audio on the file's clock: holes are filled with silence, samples at wrong times are dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import av.audio.frame
import av.audio.resampler
import av.error
import numpy as np
from numpy.typing import NDArray

from .container.demux import StreamFrames
from .container.media_info import MediaInfo, StreamInfo
from .container.opened import library_errors
from .container.report import DecodeReport, check_length
from .mixing import PhaseMeter, mix_to_mono, to_float

_TOLERANCE = 0.1  # seconds by which time stamps may differ from the count of samples: they are rounded, and jitter
_HOLE = 0.5  # seconds of silence that are worth a warning
_SILENCE_BLOCK = 1 << 20  # samples of silence at a time

Format = Literal["mono", "s16-stereo", "flt-mono"]
_RESAMPLED: dict[Format, tuple[str, str]] = {
    "mono": ("dbl", "mono"),
    "s16-stereo": ("s16", "stereo"),
    "flt-mono": ("flt", "mono"),
}


class PcmBlocks:
    """Blocks of samples of the selected audio stream, (n, channels); iterated once.

    The formats: `mono`, float64, mixed at the stream's own rate, so that a filter can follow; `s16-stereo`, int16, and
    `flt-mono`, float32, both converted by FFmpeg as its command line does.

    Attributes:
        rate: Hz; of the blocks. Before the iteration it is 0 where neither the caller nor the headers state it.
        report: outcome; grows during the iteration.
        meter: level of the channels and of their mix, for the format `mono`.
    """

    def __init__(
        self,
        media: MediaInfo,
        stream: StreamInfo,
        report: DecodeReport,
        *,
        sample_format: Format,
        choose_rate: Callable[[int], int],
        exact_start: bool,
        timeout: float,
    ) -> None:
        """Choose a stream; nothing is opened yet.

        Args:
            media: the probed file.
            stream: its selected audio stream.
            report: receives the outcome.
            sample_format: of the blocks.
            choose_rate: returns the rate of the blocks for the rate of the stream, Hz.
            exact_start: whether audio that starts less than 0.1 s late is delayed too; the published program ignores
                that.
            timeout: see `StreamFrames`.
        """
        self._media, self.report, self.meter = media, report, PhaseMeter()
        self._decoded = StreamFrames(media, stream, report, timeout)
        self._format: Format = sample_format
        self._choose_rate, self._exact_start = choose_rate, exact_start
        self.rate = choose_rate(stream.sample_rate) if stream.sample_rate else 0
        self._resampler: av.audio.resampler.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()  # of the frames that the resampler takes
        self._mixes_itself = False  # FFmpeg cannot mix the channels of this stream

    @property
    def first_error(self) -> str:
        """The first error that FFmpeg reported; empty if there was none."""
        return self._decoded.first_error

    def __iter__(self) -> Iterator[NDArray[Any]]:
        with library_errors(self._media.path):
            for frame in self._decoded:
                if not frame.sample_rate or not frame.samples:
                    continue
                self.rate = self.rate or self._choose_rate(frame.sample_rate)
                yield from self._place(frame)
            yield from map(self._count, self._flush())
        self.report.end = self.report.decoded / self.rate if self.rate else 0.0

    def _place(self, frame: av.audio.frame.AudioFrame) -> Iterator[NDArray[Any]]:
        """Yield silence up to the time of a frame if there is a hole before it, and the frame's samples."""
        position = self.report.decoded / self.rate
        gap = 0.0 if frame.time is None else frame.time - position
        delayed = self._exact_start and not self.report.decoded and gap > 0
        if abs(gap) <= _TOLERANCE and not delayed:
            gap = 0.0
        if gap > 0:
            check_length(self._media, position + gap)
            yield from map(self._count, self._flush())
            silent_from = max(position, self.report.start)
            if position + gap - silent_from > _HOLE and self.report.decoded:
                self.report.holes.append((silent_from, position + gap))
            missing = round((position + gap) * self.rate) - self.report.decoded
            for start in range(0, missing, _SILENCE_BLOCK):
                yield self._count(self._silence(min(missing - start, _SILENCE_BLOCK)))
        first = round(-gap * frame.sample_rate) if gap < 0 else 0
        last = frame.samples
        if self.report.track_end is not None and frame.time is not None:
            last = min(last, round((self.report.track_end - frame.time) * frame.sample_rate))
        if first < last:
            yield from map(self._count, self._convert(frame, first, last))
        elif first >= frame.samples and self.report.decoded:  # not the samples before the start of the file
            self.report.damaged += position >= self.report.start

    def _count(self, block: NDArray[Any]) -> NDArray[Any]:
        self.report.decoded += len(block)
        self.report.end = self.report.decoded / self.rate
        check_length(self._media, self.report.end)
        return block

    def _silence(self, length: int) -> NDArray[Any]:
        if self._format == "s16-stereo":
            return np.zeros((length, 2), np.int16)
        return np.zeros((length, 1), np.float64 if self._format == "mono" else np.float32)

    def _convert(self, frame: av.audio.frame.AudioFrame, first: int, last: int) -> Iterator[NDArray[Any]]:
        """Convert the samples `first` to `last` of a frame to the format of the blocks."""
        whole = first == 0 and last == frame.samples
        if self._format != "mono" and not self._mixes_itself:
            try:
                yield from self._resample(frame if whole else _cut(frame, first, last))
            except av.error.ArgumentError:  # FFmpeg cannot mix these channels
                self._mixes_itself, self._resampler = True, None
            else:
                return
        frame = _readable(frame)
        channels = _channels(frame)[:, first:last]
        samples = to_float(channels, frame.format.name)
        mix = mix_to_mono(samples, [channel.name for channel in frame.layout.channels])
        self.meter.add(samples, mix)
        if self._format == "mono" and frame.sample_rate == self.rate:
            yield mix[:, None]
            return
        # Both of two channels get the mix: FFmpeg would lower it by 3 dB.
        layout = "stereo" if self._format == "s16-stereo" else "mono"
        mixed = np.ascontiguousarray(np.broadcast_to(mix, (2 if layout == "stereo" else 1, len(mix))))
        mixed_frame = av.audio.frame.AudioFrame.from_ndarray(mixed, format="dblp", layout=layout)
        mixed_frame.sample_rate = frame.sample_rate
        yield from self._resample(mixed_frame)

    def _resample(self, frame: av.audio.frame.AudioFrame) -> Iterator[NDArray[Any]]:
        shape = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
        if self._resampler is None or shape != self._shape:
            yield from self._flush()
            sample_format, layout = _RESAMPLED[self._format]
            self._resampler = av.audio.resampler.AudioResampler(sample_format, layout, self.rate)
            self._shape = shape
        frame.pts = None  # the resampler only counts samples
        yield from map(self._block, self._resampler.resample(frame))

    def _flush(self) -> Iterator[NDArray[Any]]:
        """Yield what the resampler still holds: the next frame has another format, or does not follow."""
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            yield from map(self._block, resampler.resample(None))

    def _block(self, frame: av.audio.frame.AudioFrame) -> NDArray[Any]:
        return frame.to_ndarray().reshape(-1, frame.layout.nb_channels)


def _cut(frame: av.audio.frame.AudioFrame, first: int, last: int) -> av.audio.frame.AudioFrame:
    """Copy the samples `first` to `last` of a frame."""
    frame = _readable(frame)
    samples = _channels(frame)[:, first:last]
    if not frame.format.is_planar:
        samples = samples.T.reshape(1, -1)
    part = av.audio.frame.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples), format=frame.format.name, layout=frame.layout.name
    )
    part.sample_rate = frame.sample_rate
    return part


def _readable(frame: av.audio.frame.AudioFrame) -> av.audio.frame.AudioFrame:
    """Return a frame in a format that PyAV can convert to NumPy."""
    if not frame.format.name.startswith("s64"):
        return frame
    converter = av.audio.resampler.AudioResampler("dblp", frame.layout, frame.sample_rate)
    return converter.resample(frame)[0]


def _channels(frame: av.audio.frame.AudioFrame) -> NDArray[Any]:
    """Return the samples of a frame, (channels, n)."""
    samples = frame.to_ndarray()
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
