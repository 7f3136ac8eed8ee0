"""Read the headers of a media file from ffmpeg's log, because imageio-ffmpeg does not include ffprobe."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..clock import parse_clock
from ..errors import MediaError
from .ffmpeg import MAX_PIXELS, ffmpeg_binary
from .process import DEFAULT_TIMEOUT, DecoderProcess, open_media_file

_PLAYLIST_SIGNATURES = {
    b"#EXTM3U": "an HLS playlist",
    b"ffconcat version": "an ffmpeg concat script",
    b"<?xml": "an XML file (a DASH or other playlist)",
    b"<MPD": "a DASH playlist",
    b"[playlist]": "a playlist",
    b"v=0": "a session description (SDP)",
}
_PLAYLIST_FORMATS = {"hls", "concat", "dash", "imf", "sdp", "image2", "lavfi"}

_INPUT = re.compile(r"^Input #0, (?P<format>.+), from 'fd:':$")
_DURATION = re.compile(r"^  Duration: (?P<duration>N/A|[\d:.]+)(?:, start: (?P<start>-?[\d.]+))?")
# Indented by two spaces: metadata, which the author of the file controls, is always indented further.
_STREAM = re.compile(r"^  Stream #0:(?P<index>\d+)(?:\[[^\]]*\])?(?:\([^)]*\))?: (?P<kind>Video|Audio): (?P<rest>.*)$")
_ROTATION = re.compile(r"^ {6}display ?matrix: rotation of (?P<degrees>-?[\d.]+) degrees$", re.IGNORECASE)
_SIZE = re.compile(r", (\d+)x(\d+)(?=[, \[]|$)")
_RATE = re.compile(r", ([\d.]+)(k?) fps")
_AUDIO_FORMAT = re.compile(r"(\d+) Hz, ([^,]+)")


@dataclass(frozen=True)
class StreamInfo:
    """One audio or video stream, as the headers describe it."""

    index: int  # ffmpeg's number of the stream
    kind: Literal["video", "audio"]
    codec: str
    default: bool  # marked as the stream that players select
    width: int = 0  # pixels, before rotation
    height: int = 0
    rotation: float = 0.0  # degrees by which a player rotates the frames
    frame_rate: float | None = None  # per second
    sample_rate: int = 0  # Hz
    channels: str = ""  # ffmpeg's name of the layout: "mono", "stereo", "5.1", ...

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the frames after rotation."""
        quarter_turn = round(self.rotation / 90) % 2 == 1
        return (self.height, self.width) if quarter_turn else (self.width, self.height)


@dataclass(frozen=True)
class MediaInfo:
    """Container and streams of a media file, as its headers describe them."""

    path: Path
    format: str  # ffmpeg's names of the container, comma-separated
    duration: float | None  # seconds; None where the container does not state it
    start: float  # seconds; time zero of the container in its own time stamps
    streams: tuple[StreamInfo, ...]

    @property
    def video(self) -> StreamInfo | None:
        """The video stream to decode: a default stream first, then the largest frames, then the lowest index."""
        candidates = [stream for stream in self.streams if stream.kind == "video"]
        return max(candidates, key=lambda s: (s.default, s.width * s.height, -s.index), default=None)

    @property
    def audio(self) -> StreamInfo | None:
        """The audio stream to decode: a default stream first, then one that is not mono, then the lowest index.

        The layout affects the choice only: all layouts are mixed down.
        """
        candidates = [stream for stream in self.streams if stream.kind == "audio"]
        return max(candidates, key=lambda s: (s.default, s.channels != "mono", -s.index), default=None)


def probe(path: Path, *, timeout: float = DEFAULT_TIMEOUT) -> MediaInfo:
    """Read a file's headers.

    Args:
        path: the file.
        timeout: seconds without progress after which reading is stopped.

    Returns:
        Container and streams; at least one stream.

    Raises:
        MediaError: the path is not a regular file, not media, or a playlist that names other files.
        DecodeTimeoutError: reading the headers hangs.
    """
    _refuse_playlist(path)
    lines: list[str] = []

    def command(descriptor: int) -> Sequence[str]:
        arguments = ["-hide_banner", "-nostdin", "-max_pixels", str(MAX_PIXELS), "-protocol_whitelist", "fd"]
        return [ffmpeg_binary(), *arguments, "-fd", str(descriptor), "-i", "fd:"]

    with DecoderProcess(path, command, timeout=timeout, on_line=lines.append) as process:
        process.read_line()  # nothing is written to stdout: this waits for its end
        process.finish()
    info = _parse_report(path, lines)
    if info is None:
        raise MediaError(path, "is not a media file that can be read (no audio or video found)")
    if not info.streams:
        raise MediaError(path, "holds neither audio nor video")
    return info


def _refuse_playlist(path: Path) -> None:
    with os.fdopen(open_media_file(path), "rb") as file:
        head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, what in _PLAYLIST_SIGNATURES.items():
        if head.startswith(mark):
            raise MediaError(path, f"is {what}, not media; files that it names are not opened: give the media files")


def _parse_report(path: Path, lines: Sequence[str]) -> MediaInfo | None:
    container = duration = None
    start = 0.0
    streams: list[StreamInfo] = []
    for line in lines:
        if match := _INPUT.match(line):
            container = match["format"]
            if _PLAYLIST_FORMATS & set(container.split(",")):
                raise MediaError(path, f"is a playlist ({container}), not media; files that it names are not opened")
        elif match := _DURATION.match(line):
            duration = None if match["duration"] == "N/A" else parse_clock(match["duration"])
            start = float(match["start"] or 0.0)
        elif match := _STREAM.match(line):
            stream = _parse_stream(int(match["index"]), match["kind"], match["rest"])
            if stream is not None:
                streams.append(stream)
        elif (match := _ROTATION.match(line)) and streams and streams[-1].kind == "video":
            streams[-1] = replace(streams[-1], rotation=float(match["degrees"]))
    if container is None:
        return None
    return MediaInfo(path, container, duration, start, tuple(streams))


def _parse_stream(index: int, kind: str, rest: str) -> StreamInfo | None:
    codec = re.split(r"[ ,(]", rest, maxsplit=1)[0]
    default = "(default)" in rest
    if kind == "Video":
        size = _SIZE.search(rest)
        if "(attached pic)" in rest or size is None:  # cover art; a stream without a single decodable frame
            return None
        rate = _RATE.search(rest)
        frames_per_second = float(rate[1]) * (1000 if rate[2] else 1) if rate else None
        return StreamInfo(
            index, "video", codec, default, width=int(size[1]), height=int(size[2]), frame_rate=frames_per_second
        )
    audio = _AUDIO_FORMAT.search(rest)
    if audio is None or int(audio[1]) == 0:
        return None
    return StreamInfo(index, "audio", codec, default, sample_rate=int(audio[1]), channels=audio[2].strip())
