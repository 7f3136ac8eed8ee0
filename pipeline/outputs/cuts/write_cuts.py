"""Write cuts of one media file: packets copied, or encoded anew."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...decode.ffmpeg import ffmpeg_command, ffmpeg_input
from ...decode.open_media import open_media
from ...decode.options import DecodeOptions
from ...decode.process import DecoderProcess, describe_exit, python_program, read_failure
from ...errors import DecodeTimeoutError, MediaError, OutputError
from ...files import replacing
from ...text import escape

_CUTS_PER_PROCESS = 50  # the arguments of a program may have 128 KiB
_GRACE = 30.0  # seconds beyond the time limit of a process after which it counts as hung
_SECONDS_PER_LIMIT = 10.0  # of media for which the time limit grows by itself once
_QUALITY = 18  # x264's rate factor; hardly different from the source
_AUDIO_RATE = "192k"  # bits a second
_EVEN_SIZE = ("max(2,trunc(iw/2)*2)", "max(2,trunc(ih/2)*2)")  # as 4:2:0 needs it
_FRAME_TIMES = {"fps_mode": "vfr", "enc_time_base": "demux"}  # as in the source, not rounded to a constant rate
# Containers with an index of key frames. In others, decoding begins earlier: ffmpeg may find a place between two.
_SEEKABLE = frozenset((".3gp", ".m4a", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".qt", ".webm"))
_LEAD = 10.0  # seconds
_MAX_MISSING = 0.5  # seconds
_MAX_DECODE = 600.0  # seconds that are decoded from the start for a part that seeking does not reach
_FULL_DISK = "No space left on device"


@dataclass(frozen=True)
class Part:
    """A part of a media file to be written, in seconds on its clock.

    Attributes:
        start: at least 0.
        end: later than the start.
        path: the file to create or replace.
    """

    start: float
    end: float
    path: Path


@dataclass(frozen=True)
class WrittenPart:
    """The part of a media file that a cut holds, in seconds on its clock."""

    start: float
    end: float


def copy_parts(media: Path, parts: Sequence[Part], *, muxer: str, timeout: float) -> Iterator[WrittenPart | MediaError]:
    """Copy the packets of parts of a file: nothing is encoded, so a cut begins with a key frame.

    Args:
        media: the file.
        parts: all in one folder.
        muxer: FFmpeg's name of the container to write.
        timeout: seconds that a cut may take, and as much again for every 10 s of media.

    Yields:
        For each part what was written, which begins at or before its start, or why it could not be written.

    Raises:
        OutputError: a file cannot be written; those that follow are not.
    """
    for first in range(0, len(parts), _CUTS_PER_PROCESS):
        chosen = parts[first : first + _CUTS_PER_PROCESS]
        yield from _copy_in_process(media, chosen, muxer, timeout)


def _copy_in_process(
    media: Path, parts: Sequence[Part], muxer: str, timeout: float
) -> Iterator[WrittenPart | MediaError]:
    settings = {
        "folder": os.fspath(parts[0].path.parent.resolve()),
        "muxer": muxer,
        "timeout": timeout,
        "cuts": [(part.start, part.end, part.path.name) for part in parts],
    }
    arguments = python_program("outputs.cuts.copy_main", os.fspath(media), json.dumps(settings))
    done = 0
    try:
        with DecoderProcess(media, lambda _: arguments, timeout=timeout + _GRACE) as process:
            while done < len(parts):
                message = _read_message(media, process)
                done += 1
                yield (
                    read_failure(media, message)
                    if "failed" in message
                    else WrittenPart(message["start"], message["end"])
                )
    except MediaError as error:  # of the whole file, or the process has crashed or hangs
        for _ in parts[done:]:
            yield error


def _read_message(media: Path, process: DecoderProcess) -> dict[str, Any]:
    while (line := process.read_line()).endswith(b"\n"):
        message = json.loads(line)
        if "unwritable" in message:
            raise OutputError(message["unwritable"])
        if "cut" in message:
            return message
        if "failed" in message:
            raise read_failure(media, message)
    raise MediaError(media, f"the process that cuts it {describe_exit(process.close())}")


def encode_parts(
    media: Path, parts: Sequence[Part], *, muxer: str, timeout: float
) -> Iterator[WrittenPart | MediaError]:
    """Encode parts of a file as H.264 and AAC: a cut begins with the first frame at or after its start.

    Frames are turned as a player shows them, and have even numbers of rows and columns.

    Args:
        media: the file.
        parts: of the file.
        muxer: FFmpeg's name of the container to write.
        timeout: seconds that a cut may take, and as much again for every 10 s of it.

    Yields:
        For each part what was written, or why it could not be written.

    Raises:
        OutputError: a file cannot be written; those that follow are not.
    """
    try:
        encoder = _Encoder(media, muxer, timeout)
    except MediaError as error:
        yield from (error for _ in parts)
        return
    for part in parts:
        try:
            with replacing(part.path) as temporary:
                written: WrittenPart | MediaError = encoder.encode(part, temporary)
        except MediaError as error:
            written = error
        yield written


class _Encoder:
    """ffmpeg, run on parts of one media file."""

    def __init__(self, media: Path, muxer: str, timeout: float) -> None:
        """Read the headers of the file; the arguments are those of `encode_parts`. Raises MediaError."""
        self._media, self._muxer, self._timeout = media, muxer, timeout
        with open_media(media, decoding=DecodeOptions(timeout=timeout), streams=()) as opened:
            self._video, self._audio, self._duration = opened.video_index, opened.audio_index, opened.duration

    def encode(self, part: Part, path: Path) -> WrittenPart:
        """Encode a part into a file that exists. Raises MediaError or OutputError."""
        lead = 0.0 if self._media.suffix.lower() in _SEEKABLE else min(part.start, _LEAD)
        seconds = self._run(part, path, lead)
        missing = min(part.end, self._duration or part.end) - part.start - seconds
        if missing > _MAX_MISSING and lead < part.start <= _MAX_DECODE:  # time stamps that jump mislead the search
            seconds = self._run(part, path, part.start)
        if not seconds:
            raise MediaError(self._media, f"has nothing between {part.start:g} s and {part.end:g} s")
        return WrittenPart(part.start, part.start + seconds)

    def _run(self, part: Part, path: Path, lead: float) -> float:
        """Run ffmpeg and return the seconds that it wrote; it decodes `lead` seconds before the part, too."""
        limit = self._timeout * (1 + (lead + part.end - part.start) / _SECONDS_PER_LIMIT)
        with DecoderProcess(self._media, self._command(part, path, lead), timeout=self._timeout) as process:
            seconds = _follow(self._media, process, limit)
            status = process.finish()
            if any(_FULL_DISK in line for line in process.errors):
                raise OutputError(f"{escape(part.path)}: cannot be written: {_FULL_DISK}")
            if status:
                reason = process.errors[-1].rpartition("] ")[2] if process.errors else describe_exit(status)
                raise MediaError(self._media, f"cannot be cut: {escape(reason)}")
        return seconds

    def _command(self, part: Part, path: Path, lead: float) -> Callable[[int], list[str]]:
        options: dict[str, Any] = {"t": f"{part.end - part.start:.6f}", "f": self._muxer, "map_chapters": -1}
        if lead:
            options["ss"] = f"{lead:.6f}"

        def command(descriptor: int) -> list[str]:
            import ffmpeg

            seek = {"ss": f"{part.start - lead:.6f}"} if part.start > lead else {}
            source = ffmpeg_input(descriptor, reinit_filter=0, **seek)
            streams = []
            if self._video is not None:
                streams.append(source[str(self._video)].filter("scale", *_EVEN_SIZE))
                options.update(vcodec="libx264", crf=_QUALITY, preset="fast", pix_fmt="yuv420p", **_FRAME_TIMES)
            if self._audio is not None:
                streams.append(source[str(self._audio)])
                options.update(acodec="aac", audio_bitrate=_AUDIO_RATE)
            output = ffmpeg.output(*streams, f"file:{path.resolve()}", **options)
            return ffmpeg_command(output.global_args("-y", "-progress", "pipe:1"), log_level="error")

        return command


def _follow(media: Path, process: DecoderProcess, limit: float) -> float:
    """Read ffmpeg's reports until its end; return the seconds that it has written. Raises DecodeTimeoutError."""
    seconds, deadline = 0.0, time.monotonic() + limit
    while line := process.read_line():
        name, _, value = line.decode("ascii", "replace").strip().partition("=")
        if name == "out_time_us" and value.lstrip("-").isdigit():
            seconds = max(0.0, int(value) / 1e6)
        if time.monotonic() > deadline:
            raise DecodeTimeoutError(media, f"cutting took more than {limit:g} s")
    return seconds
