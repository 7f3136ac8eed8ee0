"""Read the headers of a media file with FFmpeg's libraries (PyAV). Runs in decode processes only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.container
import av.logging
import av.stream

from ..clock import parse_clock
from ..errors import MediaError
from .container.media_file import MAX_PIXELS, refuse_foreign_content
from .container.media_info import MediaInfo, StreamInfo
from .container.opened import open_container

_PLAYLIST_FORMATS = {"hls", "concat", "dash", "imf", "sdp", "image2", "lavfi"}
_LATE_STREAMS = {"mpegts", "mpeg", "flv", "live_flv"}  # containers that list streams as they meet them
_START_TOLERANCE = 0.1  # seconds

_DURATION = re.compile(r"^  Duration: (?P<duration>N/A|[\d:.]+)")
_PROGRAMME = re.compile(r"^  Program (?P<number>\d+) ")
# Indented by two spaces: metadata, which the author of the file controls, is always indented further.
_STREAM = re.compile(r"^  Stream #0:(?P<index>\d+)(?:\[[^\]]*\])?(?:\([^)]*\))?: (?P<kind>Video|Audio): (?P<rest>.*)$")
_END_OF_PROGRAMMES = "  No Program"
_ROTATION = re.compile(r"^ {6}display ?matrix: rotation of (?P<degrees>-?[\d.]+) degrees$", re.IGNORECASE)
_SIZE = re.compile(r", (\d+)x(\d+)(?=[, \[]|$)")
_PIXEL_ASPECT = re.compile(r"SAR (\d+):(\d+) DAR")
_RATE = re.compile(r", ([\d.]+)(k?) fps")
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) exceeds")
_AUDIO_FORMAT = re.compile(r"(\d+) Hz, ([^,]+)")
_MAX_PIXEL_ASPECT = Fraction(8)  # a wrong value would stretch frames to gigabytes


def probe(path: Path) -> MediaInfo:
    """Read a file's headers.

    Args:
        path: the file.

    Returns:
        Container and streams; at least one stream.

    Raises:
        MediaError: the path is not a regular file, not media, or a playlist that names other files.
    """
    refuse_foreign_content(path)
    info = _read_headers(path)
    kinds = {stream.kind for stream in info.streams if stream.sample_rate or stream.width}
    if len(kinds) < 2 and _LATE_STREAMS & set(info.format.split(",")):
        info = _read_headers(path, long_look=True)
    if not info.streams:
        raise MediaError(path, "holds neither audio nor video", "no-streams")
    return info


def _read_headers(path: Path, *, long_look: bool = False) -> MediaInfo:
    log: list[str] = []
    with open_container(path, long_look=long_look, log=log) as container:
        if _PLAYLIST_FORMATS & set(container.format.name.split(",")):
            name = container.format.name
            cause = f"is a playlist ({name}), not media; files that it names are not opened"
            raise MediaError(path, cause, "not-media")
        previous = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            with av.logging.Capture():
                described: Any = container  # the method is not in PyAV's type stubs
                report: str = described.dumps_format()
        finally:
            av.logging.set_level(previous)
        duration, streams = _parse_report(report.splitlines(), _size_problem(log))
        streams = tuple(_with_problem(stream, container.streams[stream.index]) for stream in streams)
        info = MediaInfo(path, container.format.name, duration, 0.0, streams, long_look)
        start = _start(container, info)
        return replace(info, start=start, duration=_length(container, duration, start))


def _with_problem(stream: StreamInfo, opened: av.stream.Stream) -> StreamInfo:
    if stream.width * stream.height > MAX_PIXELS:
        return replace(stream, problem=_too_large(stream.width, stream.height))
    if opened.codec_context is not None or stream.problem:
        return stream
    return replace(stream, problem=f"FFmpeg has no decoder for the {stream.kind} codec {stream.codec!r}")


def _size_problem(log: Sequence[str]) -> str:
    """Return what is wrong with video whose size FFmpeg did not even accept; empty if there is none."""
    sizes = [match for line in log if (match := _TOO_LARGE.match(line))]
    return _too_large(int(sizes[0][1]), int(sizes[0][2])) if sizes else ""


def _too_large(width: int, height: int) -> str:
    return f"its frames are too large: {width}x{height}, and the limit is {MAX_PIXELS:,} pixels"


def _start(container: av.container.InputContainer, info: MediaInfo) -> float:
    """Return the time zero of a file's clock: the first time stamp of the streams that are decoded.

    FFmpeg's own start of the container is used where it is near, because the published features count from it; it
    may be that of a stream that is not decoded, or of samples that are not presented.
    """
    firsts = []
    for stream in info.selected:
        opened = container.streams[stream.index]
        if opened.start_time is not None and opened.time_base is not None:
            firsts.append(float(opened.start_time * opened.time_base))
    stated = None if container.start_time is None else container.start_time / 1e6
    first = min(firsts, default=stated or 0.0)
    return stated if stated is not None and abs(stated - first) <= _START_TOLERANCE else first


def _length(container: av.container.InputContainer, duration: float | None, start: float) -> float | None:
    """Return the seconds from the start: these containers state the last time stamp instead."""
    names = set(container.format.name.split(","))
    if "asf" in names:  # every stream has the length of the file, to which FFmpeg adds the start of the stream
        lengths = [float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base]
        duration = round(max(lengths), 2) if lengths else duration
    stamps = {"matroska", "mov", "flv", "asf", "nut"} & names
    if duration is not None and stamps and start > _START_TOLERANCE and duration > start:
        return round(duration - start, 2)
    return duration


def _parse_report(lines: Sequence[str], size_problem: str) -> tuple[float | None, tuple[StreamInfo, ...]]:
    """Parse FFmpeg's description of a container, the only place that tells rotation and programmes."""
    duration = None
    programme: int | None = None
    streams: dict[int, StreamInfo] = {}
    latest = None
    for line in lines:
        if match := _DURATION.match(line):
            duration = None if match["duration"] == "N/A" else parse_clock(match["duration"])
        elif match := _PROGRAMME.match(line):
            programme = int(match["number"])
        elif line.startswith(_END_OF_PROGRAMMES):
            programme = None
        elif match := _STREAM.match(line):
            latest = int(match["index"])
            stream = streams.get(latest) or _parse_stream(latest, match["kind"], match["rest"], size_problem)
            if stream is not None:
                programmes = stream.programmes if programme is None else stream.programmes | {programme}
                streams[latest] = replace(stream, programmes=programmes)
        elif (match := _ROTATION.match(line)) and latest in streams and streams[latest].kind == "video":
            streams[latest] = replace(streams[latest], rotation=float(match["degrees"]))
    return duration, tuple(streams[index] for index in sorted(streams))


def _parse_stream(index: int, kind: str, rest: str, size_problem: str) -> StreamInfo | None:
    codec = re.split(r"[ ,(]", rest, maxsplit=1)[0]
    problem = ""
    if codec in {"none", "unknown"}:
        tag = re.search(r"^\w+ \(([^/)]*) / ", rest)
        codec = tag[1].strip() if tag else codec
        problem = f"FFmpeg does not know the {kind.lower()} codec {codec!r}"
    default = "(default)" in rest
    if kind == "Video":
        size = _SIZE.search(rest)
        if "(attached pic)" in rest:  # cover art
            return None
        problem = problem or ("" if size else size_problem)
        if size is None and not problem:
            return None  # without a single decodable frame
        rate, aspect = _RATE.search(rest), _PIXEL_ASPECT.search(rest)
        width, height = (int(size[1]), int(size[2])) if size else (0, 0)
        stated = Fraction(int(aspect[1]), int(aspect[2])) if aspect and int(aspect[2]) else Fraction(0)
        usable = 1 / _MAX_PIXEL_ASPECT <= stated <= _MAX_PIXEL_ASPECT and width * stated * height <= MAX_PIXELS
        return StreamInfo(
            index,
            "video",
            codec,
            default,
            width=width,
            height=height,
            pixel_aspect=stated if usable else None,
            frame_rate=float(rate[1]) * (1000 if rate[2] else 1) if rate else None,
            problem=problem,
        )
    audio = _AUDIO_FORMAT.search(rest)
    rate, channels = (int(audio[1]), audio[2].strip()) if audio else (0, "")
    return StreamInfo(index, "audio", codec, default, sample_rate=rate, channels=channels, problem=problem)
