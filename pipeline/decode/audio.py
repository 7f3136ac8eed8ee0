"""Read the audio of a media file, resampled to 16 kHz mono, per second."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import SAMPLE_RATE
from ..errors import MediaError
from .container.media_info import MediaInfo, StreamInfo
from .container.outcome import finish_report
from .container.report import DecodeReport
from .options import WHOLE, Part
from .pcm import PcmBlocks
from .process import DEFAULT_TIMEOUT
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

    The seconds are those of the part that is decoded. Audio before it is decoded too: a decoder's state reaches back.

    Memory does not grow with the file. FFmpeg decodes the audio whichever reader decodes the frames: decord would
    hold the audio of the whole file in memory.

    Attributes:
        media: the probed file.
        stream: the audio stream that is decoded.
        ended_before: whether the audio ends before the part, known after the iteration.
        report: complete after the iteration; `decoded` counts samples at the decoded rate, `end` is their duration.
    """

    def __init__(
        self,
        media: MediaInfo,
        resampling: Literal["nearest", "filtered"],
        *,
        resampler: str = DEFAULT_RESAMPLER,
        timeout: float = DEFAULT_TIMEOUT,
        part: Part = WHOLE,
        on_skip: Callable[[], None] = lambda: None,
    ) -> None:
        """Choose the stream; nothing is decoded yet.

        Args:
            media: the probed file.
            resampling: `nearest`, the published path, or `filtered`, anti-aliased; see `Profile.resampling`.
            resampler: key of `resampling.RESAMPLERS`, for `filtered` only.
            timeout: seconds that decoding may take, and as much again for every 10 s of media.
            part: the seconds to decode. Under `nearest`, in which all audio determines each sample, everything is
                decoded.
            on_skip: called often while what lies before the part is skipped.

        Raises:
            MediaError: the file has no audio stream.
            ValueError: the resampler is unknown.
        """
        if media.audio is None:
            raise MediaError(media.path, "has no audio stream", "no-streams")
        self.media = media
        self.stream = media.audio
        self.report = DecodeReport("ffmpeg", start=float(part.start))
        self.ended_before = False
        self._part, self._on_skip = part, on_skip
        self._resample = get_resampler(resampler)
        self._filtered = resampling == "filtered"
        self._blocks = PcmBlocks(
            media,
            media.audio,
            self.report,
            sample_format="mono" if self._filtered else "s16-stereo",
            choose_rate=resamplable if self._filtered else lambda _: PUBLISHED_RATE,
            exact_start=self._filtered,
            timeout=timeout,
        )

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        blocks = _Buffer(iter(self._blocks))
        seconds = self._filtered_seconds(blocks) if self._filtered else enumerate(self._nearest_seconds(blocks))
        for index, second in seconds:
            if index < self._part.start:
                self._on_skip()
            elif self._part.end is None or index < self._part.end:
                yield second
        self.ended_before = self.report.end <= self._part.start
        if self._filtered:
            self.report.cut_at(self._part.end)
        finish_report(self.media, self.report, "audio", first_error=self._blocks.first_error)
        if self._blocks.meter.cancels:
            self.report.warnings.append("the audio channels are in opposite phase: mixed to one, they cancel")

    @property
    def silent(self) -> bool:
        """Whether the audio decoded so far is silent."""
        return self._blocks.meter.silent

    @property
    def decoded_to(self) -> int | None:
        """Second up to which audio is decoded; None is the end of the stream."""
        return self._part.end if self._filtered else None

    def _filtered_seconds(self, blocks: _Buffer) -> Iterator[tuple[int, Samples]]:
        """Yield numbers of seconds, and the seconds from about the start of the part on."""
        first = blocks.read(1)
        rate = self._blocks.rate  # known from the first block on
        if not len(first):
            return
        # A filter needs the second before the part, and the one behind it.
        before, after = max(0, self._part.start - 1), None if self._part.end is None else self._part.end + 1
        seconds = self._whole_seconds(blocks, first, rate)
        for _ in itertools.islice(seconds, before):
            self._on_skip()
        wanted = itertools.islice(seconds, None if after is None else after - before)
        resampled = wanted if rate == SAMPLE_RATE else resample_seconds(wanted, rate, self._resample)
        yield from enumerate(resampled, before)

    def _whole_seconds(self, blocks: _Buffer, first: NDArray[Any], rate: int) -> Iterator[Samples]:
        second = np.concatenate([first, blocks.read(rate - 1)])
        while len(second):
            yield _zero_pad(second[:, 0], rate)
            second = blocks.read(rate)

    def _nearest_seconds(self, blocks: _Buffer) -> Iterator[Samples]:
        def read(count: int) -> Samples:
            samples = blocks.read(max(0, count)) / 32768
            if len(samples):
                self._blocks.meter.add(samples.T, samples.mean(axis=1))
            return samples

        pending = np.empty(0)
        for block in published_track(read, self.media.duration):
            pending = np.concatenate([pending, block.mean(axis=1)])
            if len(pending) >= SAMPLE_RATE:
                yield pending[:SAMPLE_RATE]
                pending = pending[SAMPLE_RATE:]
        if len(pending):
            yield _zero_pad(pending, SAMPLE_RATE)


def find_audible_stream(silent: AudioReader, timeout: float, on_second: Callable[[float], None]) -> StreamInfo | None:
    """Look for another audio stream of the same programme that is not silent, as far as the silent one was decoded.

    Args:
        silent: an exhausted reader of a silent stream.
        timeout: as for the reader.
        on_second: called with the seconds of a stream that have been searched.

    Returns:
        The first such stream, None if there is none.
    """
    media, end = silent.media, silent.decoded_to
    others = [stream for stream in media.alternatives() if stream != silent.stream]
    for stream in others:
        reader = AudioReader(replace(media, streams=(stream,)), "filtered", timeout=timeout, part=Part(0, end))
        try:
            for count, _ in enumerate(reader, 1):
                on_second(float(count))
                if not reader.silent:
                    return stream
        except MediaError:
            continue
    return None


class _Buffer:
    """Blocks of any length, read in pieces of a wanted length."""

    def __init__(self, blocks: Iterator[NDArray[Any]]) -> None:
        self._blocks = blocks
        self._rest: NDArray[Any] | None = None

    def read(self, count: int) -> NDArray[Any]:
        """Return the next `count` samples, (n, channels); fewer at the end."""
        parts = [] if self._rest is None else [self._rest]
        length = sum(map(len, parts))
        while length < count and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            length += len(block)
        joined = np.concatenate(parts) if parts else np.empty((0, 1))
        self._rest = joined[count:]
        return joined[:count]


def _zero_pad(samples: Samples, length: int) -> Samples:
    return samples if len(samples) == length else np.pad(samples, (0, length - len(samples)))
