"""Parse ffmpeg's log: frames, damage, the cause of a failure."""

from __future__ import annotations

import re
from typing import Any, Literal

from ..errors import MediaError
from .base import DecodeReport, check_length
from .ffmpeg import ffmpeg_input
from .probe import MediaInfo, StreamInfo
from .process import DecoderProcess

FRAME_LINE = re.compile(
    r"\[Parsed_showinfo_\d+ @ 0x[0-9a-f]+\] \[info\] n: *\d+ .* pts_time:\s*(?P<start>-?[\d.]+)"
    r"(?:.* duration_time:\s*(?P<length>[\d.]+))?"
)
_CORRUPT = re.compile(r"\[vist#[^\]]*\] (\[[^\]]*\] )?\[warning\] corrupt decoded frame$")
_DECODE_ERRORS = re.compile(r"\[in#[^\]]*\] \[verbose\]   Input stream #.* decoded; (\d+) decode errors")


class DecodeLog:
    """Callback for lines of ffmpeg's log that counts damaged frames and packets in `report`."""

    def __init__(self, report: DecodeReport) -> None:
        self.report = report

    def __call__(self, line: str) -> None:
        if _CORRUPT.match(line):
            self.report.damaged += 1
        elif match := _DECODE_ERRORS.match(line):
            self.report.damaged += int(match[1])


class FrameLog(DecodeLog):
    """DecodeLog that also counts decoded frames, records the end of the last one and limits the time stamps.

    The limit is checked here and not where frames arrive: ffmpeg fills a gap of hours with all of its frames before it
    writes the first of them.
    """

    def __init__(self, report: DecodeReport, media: MediaInfo, frame_rate: float | None) -> None:
        super().__init__(report)
        self._media = media
        self._spacing = 1 / frame_rate if frame_rate else 0.0  # for streams that do not state how long a frame lasts

    def __call__(self, line: str) -> None:
        if match := FRAME_LINE.match(line):
            self.report.decoded += 1
            length = float(match["length"] or 0.0) or self._spacing
            self.report.end = max(self.report.end, float(match["start"]) + length)
            check_length(self._media, self.report.end)
        else:
            super().__call__(line)


def check_result(
    media: MediaInfo, process: DecoderProcess, report: DecodeReport, unit: Literal["frames", "audio"]
) -> None:
    """Wait for a decoder whose output has ended, then add warnings about damage and failure to the report.

    Args:
        media: the probed file.
        process: the decoder; its log is complete when it has ended.
        report: of the decoded stream; changed.
        unit: what was decoded, for the messages.

    Raises:
        MediaError: nothing was decoded.
        DecodeTimeoutError: the decoder does not end.
    """
    status = process.finish()
    reason = _last_error(process)
    if report.decoded == 0:
        raise MediaError(media.path, f"no {unit} could be decoded{reason}")
    if report.damaged:
        report.warnings.append(f"{report.damaged} damaged {'frames' if unit == 'frames' else 'audio packets'}")
    if status != 0:
        report.warnings.append(f"decoding of the {unit} stopped early at {report.end:.2f} s{reason}")


def _last_error(process: DecoderProcess) -> str:
    if not process.errors:
        return ""
    text = re.sub(r"\[[^\]]*\] ?", "", process.errors[-1])
    return f" ({text.strip()})"


def logged_frames(stream: StreamInfo, descriptor: int, **options: Any) -> Any:
    """Return an ffmpeg-python node of all frames of a stream that logs each frame's time, as `FRAME_LINE` matches it.

    Args:
        stream: the video stream.
        descriptor: see `ffmpeg_input`.
        options: further input options of ffmpeg.

    Returns:
        A node of ffmpeg-python.
    """
    return ffmpeg_input(descriptor, **options)[str(stream.index)].filter("showinfo", checksum=0)
