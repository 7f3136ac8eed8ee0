"""What a media file says of itself, read from ffmpeg's own report (imageio-ffmpeg carries no ffprobe)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..clock import parse_clock
from ..errors import MediaError
from .ffmpeg import MAX_PIXELS, ffmpeg_binary
from .process import DEFAULT_TIMEOUT, DecoderProcess, open_media_file

_PLAYLIST_HEADS = {
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
# Two blanks from the margin: metadata, which the file's maker writes, is always further in.
_STREAM = re.compile(r"^  Stream #0:(?P<index>\d+)(?:\[[^\]]*\])?(?:\([^)]*\))?: (?P<kind>Video|Audio): (?P<rest>.*)$")
_ROTATION = re.compile(r"^ {6}display ?matrix: rotation of (?P<degrees>-?[\d.]+) degrees$", re.IGNORECASE)
_SIZE = re.compile(r", (\d+)x(\d+)(?=[, \[]|$)")
_RATE = re.compile(r", ([\d.]+)(k?) fps")
_SOUND = re.compile(r"(\d+) Hz, ([^,]+)")


@dataclass(frozen=True)
class StreamInfo:
    """One audio or video stream. `rotation` is the turn, in degrees, that a player applies."""

    index: int
    kind: Literal["video", "audio"]
    codec: str
    default: bool
    width: int = 0
    height: int = 0
    rotation: float = 0.0
    frame_rate: float | None = None
    sample_rate: int = 0
    channels: str = ""  # ffmpeg's name of the layout: "mono", "stereo", "5.1", ...

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the picture as a player shows it, turned."""
        turned = round(self.rotation / 90) % 2 == 1
        return (self.height, self.width) if turned else (self.width, self.height)


@dataclass(frozen=True)
class MediaInfo:
    """What a file claims to hold. `duration` is None where the container does not say; `start` is its time zero."""

    path: Path
    format: str
    duration: float | None
    start: float
    streams: tuple[StreamInfo, ...]

    @property
    def video(self) -> StreamInfo | None:
        """The video stream that is parsed: a default one before others, then the largest picture, then the first."""
        found = [stream for stream in self.streams if stream.kind == "video"]
        return max(found, key=lambda s: (s.default, s.width * s.height, -s.index), default=None)

    @property
    def audio(self) -> StreamInfo | None:
        """The audio stream that is parsed: a default one before others, then stereo, then the first.

        Only the order of preference between mono and more channels matters here: all layouts are mixed down.
        """
        found = [stream for stream in self.streams if stream.kind == "audio"]
        return max(found, key=lambda s: (s.default, s.channels != "mono", -s.index), default=None)


def probe(path: Path, *, timeout: float = DEFAULT_TIMEOUT) -> MediaInfo:
    """Read a file's headers.

    Raises MediaError for what is no file, no media, or a playlist that names other files; DecodeTimeoutError when the
    headers alone hang the reader.
    """
    _refuse_playlist(path)
    lines: list[str] = []

    def command(descriptor: int) -> Sequence[str]:
        arguments = ["-hide_banner", "-nostdin", "-max_pixels", str(MAX_PIXELS), "-protocol_whitelist", "fd"]
        return [ffmpeg_binary(), *arguments, "-fd", str(descriptor), "-i", "fd:"]

    with DecoderProcess(path, command, timeout=timeout, on_line=lines.append) as process:
        process.read_line()  # there is no output: this waits for the end
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
    for mark, what in _PLAYLIST_HEADS.items():
        if head.startswith(mark):
            raise MediaError(path, f"is {what}, not media: what it names is not followed; give the media files instead")


def _parse_report(path: Path, lines: Sequence[str]) -> MediaInfo | None:
    container = duration = None
    start = 0.0
    streams: list[StreamInfo] = []
    for line in lines:
        if match := _INPUT.match(line):
            container = match["format"]
            if _PLAYLIST_FORMATS & set(container.split(",")):
                raise MediaError(path, f"is a playlist ({container}), not media: what it names is not followed")
        elif match := _DURATION.match(line):
            duration = None if match["duration"] == "N/A" else parse_clock(match["duration"])
            start = float(match["start"] or 0.0)
        elif match := _STREAM.match(line):
            stream = _parse_stream(int(match["index"]), match["kind"], match["rest"])
            if stream is not None:
                streams.append(stream)
        elif (match := _ROTATION.match(line)) and streams and streams[-1].kind == "video":
            turned = {**vars(streams[-1]), "rotation": float(match["degrees"])}
            streams[-1] = StreamInfo(**turned)
    if container is None:
        return None
    return MediaInfo(path, container, duration, start, tuple(streams))


def _parse_stream(index: int, kind: str, rest: str) -> StreamInfo | None:
    codec = re.split(r"[ ,(]", rest, maxsplit=1)[0]
    default = "(default)" in rest
    if kind == "Video":
        size = _SIZE.search(rest)
        if "(attached pic)" in rest or size is None:  # a cover picture; a stream without a single decodable frame
            return None
        rate = _RATE.search(rest)
        frames_per_second = float(rate[1]) * (1000 if rate[2] else 1) if rate else None
        return StreamInfo(
            index, "video", codec, default, width=int(size[1]), height=int(size[2]), frame_rate=frames_per_second
        )
    sound = _SOUND.search(rest)
    if sound is None or int(sound[1]) == 0:
        return None
    return StreamInfo(index, "audio", codec, default, sample_rate=int(sound[1]), channels=sound[2].strip())
