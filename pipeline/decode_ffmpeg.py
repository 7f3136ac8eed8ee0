"""Frames by ffmpeg: exact pixels for the `clean` profile, the published JPEG pictures for `llp`."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .decode import FRAME_RATE, DecodeReport, FrameReader, chunks, note_shortfall, read_pictures
from .errors import MediaError
from .probe import MediaInfo, ffmpeg_command, ffmpeg_input
from .process import DEFAULT_TIMEOUT, MediaProcess

_FRAME = re.compile(r"Parsed_showinfo_.* pts_time:\s*(?P<start>-?[\d.]+)(?:.* duration_time:\s*(?P<length>[\d.]+))?")
_DECODE_ERRORS = re.compile(r"Input stream #.* decoded; (\d+) decode errors")


class DecodeLog:
    """Counts, line by line of ffmpeg's log, what could not be decoded or only with errors."""

    def __init__(self, report: DecodeReport) -> None:
        self.report = report

    def __call__(self, line: str) -> None:
        if "corrupt decoded frame" in line:
            self.report.damaged += 1
        elif match := _DECODE_ERRORS.search(line):
            self.report.damaged += int(match[1])


class FrameLog(DecodeLog):
    """Also counts the decoded frames and notes where the last one ends."""

    def __init__(self, report: DecodeReport, frame_rate: float | None) -> None:
        super().__init__(report)
        self._spacing = 1 / frame_rate if frame_rate else 0.0  # for streams that do not say how long a frame lasts

    def __call__(self, line: str) -> None:
        if match := _FRAME.search(line):
            self.report.decoded += 1
            length = float(match["length"] or 0.0) or self._spacing
            self.report.end = max(self.report.end, float(match["start"]) + length)
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
        report.warnings.append(f"{what}: {report.damaged} of {report.decoded} damaged")
    if status != 0:
        report.warnings.append(f"{what}: decoding stopped early at {report.end:.2f} s{reason}")


def _last_error(process: MediaProcess) -> str:
    if not process.errors:
        return ""
    text = re.sub(r"\[[^\]]*\] ?", "", process.errors[-1])
    return f" ({text.strip()})"


class FFmpegReader(FrameReader):
    """Sampling and decoding in one ffmpeg process, which hands over only the frames that are kept."""

    name = "ffmpeg"

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        def command(descriptor: int) -> Sequence[str]:
            # `start_time=0` shows the first frame from time zero on where the video starts after the sound. When the
            # picture changes its size, ffmpeg would start the filters, and the clock of `fps`, anew: that is switched
            # off, and `scale`, which can bear it, keeps to the first size. Otherwise it does nothing.
            frames = _logged_frames(self, descriptor, reinit_filter=0)
            width, height = self.stream.shown_size
            # A still picture lasts less than one sample: it is passed on all the same.
            brief = self.media.duration is None or self.media.duration < 1 / FRAME_RATE
            picked = frames.filter("fps", fps=FRAME_RATE, start_time=0, eof_action="pass" if brief else "round")
            picked = picked.filter("scale", width, height)
            options = {"fps_mode": "passthrough", "vcodec": "ppm", "pix_fmt": "rgb24", "f": "image2pipe"}
            return ffmpeg_command(picked.output("pipe:1", **options), log_level="verbose")

        log = FrameLog(self.report, self.stream.frame_rate)
        with MediaProcess(self.media.path, command, timeout=self.timeout, on_line=log) as process:
            yield from chunks(read_pictures(process))
            conclude(self.media, process, self.report, "frames")
        note_shortfall(self.report, "the video", self.media.duration)


def first_frame_time(media: MediaInfo, timeout: float) -> float:
    """When the chosen video stream's first frame appears, in seconds from the container's time zero."""
    reader = FFmpegReader(media, timeout=timeout)
    times: list[float] = []

    def command(descriptor: int) -> Sequence[str]:
        first = _logged_frames(reader, descriptor).output("pipe:1", f="null", **{"frames:v": 1})
        return ffmpeg_command(first, log_level="info")

    def note(line: str) -> None:
        if match := _FRAME.search(line):
            times.append(float(match["start"]))

    with MediaProcess(media.path, command, timeout=timeout, on_line=note) as process:
        process.read_line()
        process.finish()
    return min(times, default=0.0)


class PublishedPictures:
    """The pictures that LLP's features were made from: ``ffmpeg -i V -r 8 %06d.jpg`` at default quality.

    Which of them are used depends on how many there are, so they wait, compressed, in a temporary file. A context
    manager; `len` is their number, `report` what became of the stream.
    """

    name = "ffmpeg"

    def __init__(self, media: MediaInfo, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        if media.video is None:
            raise MediaError(media.path, "has no video stream")
        self.media = media
        self.stream = media.video
        self.report = DecodeReport(self.name)
        self._spool = tempfile.TemporaryFile(prefix="avvp-pictures-")  # noqa: SIM115 - closed by __exit__
        self._places: list[tuple[int, int]] = []
        try:
            self._fill(timeout)
        except OSError as error:
            self._spool.close()
            folder = tempfile.gettempdir()
            raise MediaError(media.path, f"its pictures cannot be kept in {folder}: {error.strerror}") from error
        except BaseException:
            self._spool.close()
            raise

    def __enter__(self) -> PublishedPictures:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: Sequence[int] | NDArray[np.intp]) -> NDArray[np.uint8]:
        """Those pictures, decoded by PIL: (F, H, W, 3) uint8 RGB."""
        return np.stack([self._decode(int(index)) for index in indices])

    def _decode(self, index: int) -> NDArray[np.uint8]:
        offset, length = self._places[index]
        self._spool.seek(offset)
        with Image.open(io.BytesIO(self._spool.read(length)), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))

    def _fill(self, timeout: float) -> None:
        def command(descriptor: int) -> Sequence[str]:
            options = {"r": FRAME_RATE, "fps_mode": "cfr", "vcodec": "mjpeg", "f": "mpjpeg"}
            return ffmpeg_command(_logged_frames(self, descriptor).output("pipe:1", **options), log_level="verbose")

        log = FrameLog(self.report, self.stream.frame_rate)
        with MediaProcess(self.media.path, command, timeout=timeout, on_line=log) as process:
            while (picture := _read_multipart(process)) is not None:
                self._places.append((self._spool.tell(), len(picture)))
                self._spool.write(picture)
            conclude(self.media, process, self.report, "frames")
        if not self._places:
            raise MediaError(self.media.path, "no frames could be decoded")
        note_shortfall(self.report, "the video", self.media.duration)


def _logged_frames(reader: FrameReader | PublishedPictures, descriptor: int, **options: Any) -> Any:
    """Every decoded frame of the chosen stream, its time written to the log."""
    decoded = ffmpeg_input(descriptor, **options)[str(reader.stream.index)]
    return decoded.filter("showinfo", checksum=0)


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
