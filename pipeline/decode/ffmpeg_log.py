"""Parse ffmpeg's log: frames, damage, the cause of a failure."""

from __future__ import annotations

import re
from typing import Any

from ..errors import MediaError
from .base import DecodeReport, check_length
from .ffmpeg import ffmpeg_input
from .probe import MediaInfo, StreamInfo
from .process import DecoderProcess

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


def check_result(media: MediaInfo, process: DecoderProcess, report: DecodeReport, what: str) -> None:
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


def _last_error(process: DecoderProcess) -> str:
    if not process.errors:
        return ""
    text = re.sub(r"\[[^\]]*\] ?", "", process.errors[-1])
    return f" ({text.strip()})"


def _logged_frames(stream: StreamInfo, descriptor: int, **options: Any) -> Any:
    """Every decoded frame of a stream, its time written to the log."""
    return ffmpeg_input(descriptor, **options)[str(stream.index)].filter("showinfo", checksum=0)
