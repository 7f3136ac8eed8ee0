"""Frames of profile ave: chosen by their number among all frames of ten seconds, squashed to the networks' size.

The published program took AVE's clips, of ten seconds and n frames each: second t has the frames ``int(t * step +
i / 16 * step)`` with ``step = int(n / 10)``. Longer files are divided into windows of ten seconds of their clock. Which
frames are chosen in the last window depends on how many there are, so the video is decoded twice: one pass counts the
frames up to half a second ahead of a window, the other converts those that are chosen. No more than a second of
pictures is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from ...extractors.resize import opencv_resize
from ..errors import MediaError
from ..segments import segment_count
from .base import Frames, repeated_chunks
from .container.media_info import MediaInfo
from .container.opened import library_errors
from .container.outcome import finish_report
from .container.report import DecodeReport
from .options import Part
from .video_frames import ConstantRate, RgbConverter, VideoFrames

PICTURE_SIZE = 224  # pixels; width and height of a picture
WINDOW_SECONDS = 10  # of AVE's clips


class _Run(NamedTuple):
    """A frame that a constant frame rate shows some times, in the window of that number."""

    window: int
    image: Any
    times: int


class SquashedFrames:
    """The pictures of the published program's rule, (F, 224, 224, 3) uint8 RGB for each second of a part.

    The frames are those that ``ffmpeg -i V -f image2pipe -vcodec rawvideo -`` delivers: at the constant rate that the
    file states, frames of a variable rate are repeated or left out. T is the duration of the longer stream. Video that
    ends more than a second before the audio has the seconds of its own duration.

    Attributes:
        report: outcome; complete after the iteration.
        held: the last second of video that ends before the part, known after the iteration; else None.
    """

    def __init__(
        self,
        media: MediaInfo,
        *,
        count: int,
        audio_end: float,
        timeout: float,
        part: Part,
        on_skip: Callable[[], None],
    ) -> None:
        """Choose the stream; nothing is decoded yet.

        Args:
            media: the probed file.
            count: F, pictures of a second.
            audio_end: seconds of decoded audio, 0 without audio.
            timeout: seconds that each pass may take, and as much again for every 10 s of media.
            part: the seconds to read.
            on_skip: called often while frames are counted and skipped.

        Raises:
            MediaError: the file has no video stream.
        """
        if media.video is None:
            raise MediaError(media.path, "has no video stream", "no-streams")
        self._media, self._stream, self._timeout = media, replace(media.video, pixel_aspect=None), timeout
        self._size, self._audio_end, self._on_skip = count, audio_end, on_skip
        self._part = part
        self.report = DecodeReport("ffmpeg")
        self.held: Frames | None = None

    def close(self) -> None:
        """Do nothing: the decoders end with the iteration."""

    def __iter__(self) -> Iterator[Frames]:
        first = self._part.start // WINDOW_SECONDS
        start = float(first * WINDOW_SECONDS)
        counted = _CountedFrames(self._open(DecodeReport("ffmpeg", start=start)), self._audio_end, self._on_skip)
        self.report = DecodeReport("ffmpeg", start=start)
        with library_errors(self._media.path):
            chunks = repeated_chunks(self._chosen(first, counted), self._size)
            for second, chunk in enumerate(chunks, first * WINDOW_SECONDS):
                if second >= self._part.start:
                    yield chunk
                else:
                    self._on_skip()
        if counted.seconds is not None and counted.seconds <= self._part.start:
            self.held = self._last_second(counted.seconds)

    def _last_second(self, seconds: int) -> Frames:
        """Return the pictures of the last of so many seconds."""
        last = SquashedFrames(
            self._media,
            count=self._size,
            audio_end=self._audio_end,
            timeout=self._timeout,
            part=Part(seconds - 1),
            on_skip=self._on_skip,
        )
        return next(iter(last))

    def _open(self, report: DecodeReport) -> VideoFrames:
        return VideoFrames(self._media, self._stream, report, self._timeout, self._on_skip)

    def _chosen(self, first: int, counted: _CountedFrames) -> Iterator[tuple[Frames, int]]:
        """Yield the pictures from the start of window `first` to the end of the part, and how often each is chosen."""
        frames = self._open(self.report)
        convert, picture = _PictureConverter(self._stream), None
        window, passed = first, 0  # frames of the window that have passed
        numbers = self._numbers(first, counted)
        wanted = next(numbers, None)
        image: Any = None
        for run in _runs(frames, first, counted):
            if run.window != window:
                window, passed = run.window, 0
            # What is chosen in a window that has ended is its last frame.
            while image is not None and wanted is not None and wanted[0] < window:
                picture = picture if picture is not None else convert(image)
                yield picture, 1
                wanted = next(numbers, None)
            if run.image is not image:
                image, picture = run.image, None
            passed += run.times
            while wanted is not None and wanted[0] == window and wanted[1] < passed:
                picture = picture if picture is not None else convert(image)
                yield picture, 1
                wanted = next(numbers, None)
            end = self._part.end
            if wanted is None and end is not None and self.report.end >= end:
                break
        self.report.cut_at(self._part.end)
        finish_report(self._media, self.report, "video", first_error=frames.first_error)
        if image is not None and wanted is not None:
            picture = picture if picture is not None else convert(image)
            yield picture, 1 + sum(1 for _ in numbers)

    def _numbers(self, first: int, counted: _CountedFrames) -> Iterator[tuple[int, int]]:
        """Yield window and number of every frame that is chosen in the part, ascending."""
        for window in itertools.count(first):
            frames, seconds, is_last = counted.window(window)
            start = window * WINDOW_SECONDS
            if not frames or (self._part.end is not None and self._part.end <= start):
                return
            # The published step is an integer; fewer frames than seconds would all be the first.
            step = frames // seconds or frames / seconds
            for second in range(seconds):
                if self._part.end is None or start + second < self._part.end:
                    for index in range(self._size):
                        yield window, int(second * step + index / self._size * step)
            if is_last:
                return


class _Window(NamedTuple):
    """What a window of ten seconds holds."""

    frames: int  # 0 where the video has ended before
    seconds: int
    is_last: bool


class _CountedFrames:
    """Frames and seconds of the windows of a video, which are asked for in their order, from one of them on.

    Attributes:
        seconds: of the video, T by the rule of `SquashedFrames`; known when its end has been reached, else None.
    """

    def __init__(self, frames: VideoFrames, audio_end: float, on_frame: Callable[[], None]) -> None:
        self._frames, self._iterator, self._audio_end, self._on_frame = frames, iter(frames), audio_end, on_frame
        self._ahead: list[tuple[float, float]] = []  # time and length of the frames of the window, and behind
        self._latest: tuple[int, _Window] | None = None
        self.seconds: int | None = None

    def window(self, number: int) -> _Window:
        """Count the frames of a window.

        The frames of a window before the last are those of ten seconds at the constant rate. The last one has all that
        are left, up to half a second more.
        """
        if self._latest is None or self._latest[0] != number:
            self._latest = number, self._count(number * WINDOW_SECONDS)
        return self._latest[1]

    def _count(self, start: int) -> _Window:
        end = start + WINDOW_SECONDS
        while self.seconds is None and segment_count(self._frames.report.end) <= end:
            frame = next(self._iterator, None)
            if frame is None:
                self.seconds = self._total()
            else:
                self._ahead.append((frame.time, frame.length))
                self._on_frame()  # ten seconds of large frames take longer than a hung process is waited for
        self._ahead = [frame for frame in self._ahead if frame[0] >= start or not start]
        if self.seconds is None or self.seconds > end:
            return _Window(max(1, round(self._frames.rate * WINDOW_SECONDS)), WINDOW_SECONDS, is_last=False)
        if self.seconds <= start:
            return _Window(0, 0, is_last=True)
        constant = ConstantRate(self._frames.rate)
        count = sum(sum(constant.add(time - start, length)) for time, length in self._ahead) + constant.finish()
        return _Window(max(1, count), self.seconds - start, is_last=True)

    def _total(self) -> int:
        own = segment_count(self._frames.report.end)
        longer = segment_count(max(self._audio_end, self._frames.report.end))
        seconds = longer if longer - own <= 1 else own
        last = (seconds - 1) // WINDOW_SECONDS * WINDOW_SECONDS
        return seconds if self._frames.latest >= last or not last else last  # a window in which no frame begins


def _runs(frames: VideoFrames, first: int, counted: _CountedFrames) -> Iterator[_Run]:
    """Show frames at a constant rate, from window `first` on. Each window begins anew, as a clip of its own would."""
    window, constant, shown = first, None, None
    for frame in frames:
        if first and frame.time < first * WINDOW_SECONDS:
            shown = frame
            continue
        if constant is None:
            constant = ConstantRate(frames.rate)
        while frame.time >= (window + 1) * WINDOW_SECONDS and not counted.window(window).is_last:
            if shown is not None:  # it is held to the end of the window
                yield _Run(window, shown.image, 0)
            window, constant = window + 1, ConstantRate(frames.rate)
        before, now = constant.add(frame.time - window * WINDOW_SECONDS, frame.length)
        if before:
            yield _Run(window, frame.image if shown is None else shown.image, before)
        yield _Run(window, frame.image, now)
        shown = frame
    if shown is not None and constant is not None:
        yield _Run(window, shown.image, constant.finish())


class _PictureConverter:
    """Conversion of a decoded frame to RGB as a player turns it, squashed; its pixels need not be square."""

    def __init__(self, stream: Any) -> None:
        self._convert = RgbConverter(stream)

    def __call__(self, image: Any) -> Frames:
        self._convert.take_size(image)
        return opencv_resize(self._convert(image)[None], PICTURE_SIZE, PICTURE_SIZE)[0]
