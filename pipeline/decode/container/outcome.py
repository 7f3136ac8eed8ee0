"""Describe what was lost while a stream was decoded: warnings of a report, or the error where nothing was left."""

from __future__ import annotations

from typing import Literal

from ...errors import MediaError
from .media_info import MediaInfo
from .report import DecodeReport

_SHORTFALL = 0.5  # seconds by which the decoded duration may differ from the container's without a warning
_NAMED_HOLES = 5  # at most, in one warning
_UNITS = {"video": "frame", "audio": "audio packet"}


def finish_report(
    media: MediaInfo,
    report: DecodeReport,
    kind: Literal["video", "audio"],
    *,
    first_error: str,
) -> None:
    """Add warnings about everything that was lost to the report of a stream whose decoding has ended.

    A pause between two frames is a hole only in a file that is damaged: screen recordings have frames seconds apart.

    Args:
        media: the probed file.
        report: of the decoded stream; changed.
        kind: of the stream; missing frames of a video are counted as damaged.
        first_error: the first error that FFmpeg reported, for the message.

    Raises:
        MediaError: nothing was decoded.
    """
    because = f" ({first_error})" if first_error else ""
    if not report.decoded:
        raise MediaError(media.path, f"no {'frames' if kind == 'video' else 'audio'} could be decoded{because}")
    lossy = bool(report.damaged or report.container_errors)
    holes = report.holes if lossy or kind == "audio" else []
    if kind == "video" and media.video is not None:
        frame_rate = media.video.frame_rate or 0.0
        report.damaged += sum(round((stop - start) * frame_rate) for start, stop in holes)
    if report.damaged:
        plural = "s" if report.damaged > 1 else ""
        report.warnings.append(f"{report.damaged} damaged {_UNITS[kind]}{plural}{because}")
    if holes:
        filled = "the frame before is held" if kind == "video" else "it is silent"
        report.warnings.append(f"no {kind} from {_list_holes(holes)}: {filled}")
    if report.container_errors:
        report.warnings.append(f"the file is damaged ({report.container_errors[0]}): parts of it could not be read")
    if report.joins:
        times = ", ".join(f"{time:.2f}" for time in report.joins[:_NAMED_HOLES])
        report.warnings.append(f"time stamps start anew at {times} s: the parts are placed one after the other")
    if report.stopped:
        report.warnings.append(f"reading the {kind} stopped at {report.end:.2f} s: the rest of the file is unreadable")
    elif (
        media.duration is not None and media.duration - report.end > _SHORTFALL and not report.joins and not report.cut
    ):
        warning = f"the {kind} ends at {report.end:.2f} s; the container states {media.duration:.2f} s"
        report.warnings.append(warning)


def _list_holes(holes: list[tuple[float, float]]) -> str:
    listed = [f"{start:.2f} to {stop:.2f} s" for start, stop in holes[:_NAMED_HOLES]]
    more = f" and {len(holes) - _NAMED_HOLES} more times" if len(holes) > _NAMED_HOLES else ""
    return ", ".join(listed) + more
