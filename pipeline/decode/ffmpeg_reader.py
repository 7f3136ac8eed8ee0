"""Frames by ffmpeg: exact pixels for the `clean` profile, the published JPEG pictures for `llp`."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..errors import MediaError
from .base import DecodeReport, FrameReader, Frames, check_length, chunks, note_shortfall, read_pictures
from .probe import MediaInfo, StreamInfo, ffmpeg_command, ffmpeg_input
from .process import DEFAULT_TIMEOUT, MediaProcess

_FRAME = re.compile(
    r"\[Parsed_showinfo_\d+ @ 0x[0-9a-f]+\] \[info\] n: *\d+ .* pts_time:\s*(?P<start>-?[\d.]+)"
    r"(?:.* duration_time:\s*(?P<length>[\d.]+))?"
)
_CORRUPT = re.compile(r"\[vist#[^\]]*\] (\[[^\]]*\] )?\[warning\] corrupt decoded frame$")
_DECODE_ERRORS = re.compile(r"\[in#[^\]]*\] \[verbose\]   Input stream #.* decoded; (\d+) decode errors")


class DecodeLog:
    """Counts, line by line of ffmpeg's log, what could not be decoded or only with errors."""

    def __init__(self, report: DecodeReport) -> None:
        self.report = report

    def __call__(self, line: str) -> None:
        if _CORRUPT.match(line):
            self.report.damaged += 1
        elif match := _DECODE_ERRORS.match(line):
            self.report.damaged += int(match[1])


class FrameLog(DecodeLog):
    """Also counts the decoded frames, notes where the last one ends, and refuses time stamps that reach too far.

    Here and not where frames arrive: ffmpeg fills such a gap with all of its frames before it hands over the first.
    """

    def __init__(self, report: DecodeReport, media: MediaInfo, frame_rate: float | None) -> None:
        super().__init__(report)
        self._media = media
        self._spacing = 1 / frame_rate if frame_rate else 0.0  # for streams that do not say how long a frame lasts

    def __call__(self, line: str) -> None:
        if match := _FRAME.match(line):
            self.report.decoded += 1
            length = float(match["length"] or 0.0) or self._spacing
            self.report.end = max(self.report.end, float(match["start"]) + length)
            check_length(self._media, self.report.end)
        else:
            super().__call__(line)


def conclude(media: MediaInfo, process: MediaProcess, report: DecodeReport, what: str) -> None:
    """Wait for a decoder whose output has ended and judge the outcome, once its log is complete.

    Raises MediaError where nothing was decoded.
    """
    status = process.finish()
    reason = _last_error(process)
    if report.decoded == 0:
        raise MediaError(media.path, f"no {what} could be decoded{reason}")
    if report.damaged:
        report.warnings.append(f"{report.damaged} damaged {'frames' if what == 'frames' else 'packets of sound'}")
    if status != 0:
        report.warnings.append(f"decoding of the {what} stopped early at {report.end:.2f} s{reason}")


def _last_error(process: MediaProcess) -> str:
    if not process.errors:
        return ""
    text = re.sub(r"\[[^\]]*\] ?", "", process.errors[-1])
    return f" ({text.strip()})"


class FFmpegReader(FrameReader):
    """Sampling and decoding in one ffmpeg process, which hands over only the frames that are kept."""

    name = "ffmpeg"

    def __iter__(self) -> Iterator[Frames]:
        # Video that lasts less than half a sample, a still picture say, comes to nothing by rounding. There, and there
        # alone, the last frame is passed on all the same.
        for eof_action in ("round", "pass"):
            self.report = DecodeReport(self.name)
            sampled = self._sample(eof_action)
            first = next(sampled, None)
            if first is not None:
                yield first
                yield from sampled
                return
        raise MediaError(self.media.path, "no frames could be sampled: all lie before the start of the video")

    def _sample(self, eof_action: str) -> Iterator[Frames]:
        def command(descriptor: int) -> Sequence[str]:
            # When the picture changes its size, ffmpeg would start the filters, and the clock of `fps`, anew: that is
            # switched off, and `scale`, which can bear it, keeps to the first size. Otherwise it does nothing.
            frames = _logged_frames(self.stream, descriptor, reinit_filter=0)
            width, height = self.stream.shown_size
            # `start_time=0` shows the first frame from time zero on where the video starts after the sound.
            sampled = frames.filter("fps", fps=FRAMES_PER_SEGMENT, start_time=0, eof_action=eof_action)
            options = {"fps_mode": "passthrough", "vcodec": "ppm", "pix_fmt": "rgb24", "f": "image2pipe"}
            output = sampled.filter("scale", width, height).output("pipe:1", **options)
            return ffmpeg_command(output, log_level="verbose")

        log = FrameLog(self.report, self.media, self.stream.frame_rate)
        with MediaProcess(self.media.path, command, timeout=self.timeout, on_line=log) as process:
            yield from chunks(read_pictures(process))
            conclude(self.media, process, self.report, "frames")
        note_shortfall(self.report, "the video", self.media.duration)


def first_frame_time(media: MediaInfo, stream: StreamInfo, timeout: float) -> float:
    """When a video stream's first frame appears, in seconds from the container's time zero."""
    times: list[float] = []

    def command(descriptor: int) -> Sequence[str]:
        first = _logged_frames(stream, descriptor).output("pipe:1", f="null", **{"frames:v": 1})
        return ffmpeg_command(first, log_level="info")

    def note(line: str) -> None:
        if match := _FRAME.match(line):
            times.append(float(match["start"]))

    with MediaProcess(media.path, command, timeout=timeout, on_line=note) as process:
        process.read_line()
        process.finish()
    return min(times, default=0.0)


class PublishedPictures:
    """The pictures that LLP's features were made from: ``ffmpeg -i V -r 8 %06d.jpg`` at default quality.

    Which of them are used depends on how many there are, so they wait, compressed, in a temporary file (some 100 MB
    for an hour) until `close` is called. `len` is their number, `report` what became of the stream. progress: called
    with the seconds decoded so far.
    """

    name = "ffmpeg"

    def __init__(
        self,
        media: MediaInfo,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        if media.video is None:
            raise MediaError(media.path, "has no video stream")
        self.media = media
        self.report = DecodeReport(self.name)
        self._spool = tempfile.TemporaryFile(prefix="avvp-pictures-")  # noqa: SIM115 - closed by `close`
        self._places: list[tuple[int, int]] = []
        try:
            self._fill(media.video, timeout, progress)
        except OSError as error:
            self._spool.close()
            folder = tempfile.gettempdir()
            raise MediaError(media.path, f"its pictures cannot be kept in {folder}: {error.strerror}") from error
        except BaseException:
            self._spool.close()
            raise

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: Sequence[int] | NDArray[np.intp]) -> Frames:
        """Those pictures, decoded by PIL: (F, H, W, 3) uint8 RGB."""
        return np.stack([self._decode(int(index)) for index in indices])

    def _decode(self, index: int) -> Frames:
        offset, length = self._places[index]
        self._spool.seek(offset)
        with Image.open(io.BytesIO(self._spool.read(length)), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))

    def _fill(self, stream: StreamInfo, timeout: float, progress: Callable[[float], None] | None) -> None:
        def command(descriptor: int) -> Sequence[str]:
            options = {"r": FRAMES_PER_SEGMENT, "fps_mode": "cfr", "vcodec": "mjpeg", "f": "mpjpeg"}
            return ffmpeg_command(_logged_frames(stream, descriptor).output("pipe:1", **options), log_level="verbose")

        log = FrameLog(self.report, self.media, stream.frame_rate)
        with MediaProcess(self.media.path, command, timeout=timeout, on_line=log) as process:
            while (picture := _read_multipart(process)) is not None:
                self._places.append((self._spool.tell(), len(picture)))
                self._spool.write(picture)
                if progress is not None and len(self) % FRAMES_PER_SEGMENT == 0:
                    progress(len(self) / FRAMES_PER_SEGMENT)
            conclude(self.media, process, self.report, "frames")
        if not self._places:
            raise MediaError(self.media.path, "no frames could be decoded")
        note_shortfall(self.report, "the video", self.media.duration)


def _logged_frames(stream: StreamInfo, descriptor: int, **options: Any) -> Any:
    """Every decoded frame of a stream, its time written to the log."""
    return ffmpeg_input(descriptor, **options)[str(stream.index)].filter("showinfo", checksum=0)


def _read_multipart(process: MediaProcess) -> bytes | None:
    """The next part of a multipart stream whose parts state their length; None at its end."""
    length = None
    while (line := process.read_line()) != b"\r\n" or length is None:
        if not line:
            return None
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    part = np.empty(length, np.uint8)
    return part.tobytes() if process.read_into(part) == length else None
