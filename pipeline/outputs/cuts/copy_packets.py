"""Copy the packets of a part of a media file into a file of its own. Runs in a process of its own only.

Nothing is decoded: a cut begins with the last key frame before the time that was asked for, and ends with the last
frame that begins before its end. In media without video every packet is a key frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.container
import av.error
import av.format
import av.packet
import av.stream

from ...decode.container.media_clock import MediaClock
from ...decode.container.media_info import MediaInfo, StreamInfo
from ...decode.container.opened import open_container
from ...errors import DecodeTimeoutError, MediaError
from ...files import replacing
from ...text import escape

MAX_LEAD_SECONDS = 60  # that a cut begins earlier than asked for; without key frames every cut would be the whole file
_MAX_LATER = 300  # packets that are kept until it is known whether they are needed; H.264 reorders at most 16
_SEEK_BACK = (0.0, 10.0, 60.0, 600.0)  # seconds; after these the file is read from its start
_SECONDS_PER_LIMIT = 10.0  # of media for which the time limit grows by itself once
_NO_HOLE = 1e-6  # seconds; tolerance for time stamps that were rounded


class _KeyFrame(NamedTuple):
    """Where a cut begins: time of its key frame, from where the file is read to find it, and whether the file ends.

    The time is None where the first key frame is later, the place None for the start of the file, both in seconds.
    """

    time: float | None
    seek: float | None
    is_last: bool


@dataclass(frozen=True)
class CopiedPart:
    """The part of a file that was copied, in seconds on its clock."""

    start: float
    end: float


class PacketCopier:
    """Copies parts of one media file."""

    def __init__(self, media: MediaInfo, *, muxer: str, timeout: float, progress: Callable[[], None]) -> None:
        """Choose the file.

        Args:
            media: the probed file.
            muxer: FFmpeg's name of the container to write.
            timeout: seconds that a cut may take, and as much again for every 10 s of media that are read.
            progress: called for every packet.
        """
        self._media, self._muxer, self._timeout, self._progress = media, muxer, timeout, progress

    def copy(self, start: float, end: float, path: Path) -> CopiedPart:
        """Copy a part into a file, which is written atomically.

        Args:
            start: seconds on the clock of the file.
            end: seconds, later than the start.
            path: the file to create or replace.

        Returns:
            The part that was copied.

        Raises:
            MediaError: the file has nothing there, or the container does not take its streams.
            DecodeTimeoutError: it takes too long.
            OutputError: the file cannot be written.
        """
        anchor = self._media.video or self._media.audio
        assert anchor is not None  # `probe` returns no file without streams
        began = time.monotonic()
        key_frame = self._find_key_frame(anchor, start, began)
        first = start if key_frame.time is None else key_frame.time
        if start - first > MAX_LEAD_SECONDS and key_frame.is_last:
            raise self._nothing(start, end)
        if start - first > MAX_LEAD_SECONDS:
            lead = f"its last key frame before {start:g} s is at {first:g} s; --exact begins between key frames"
            raise MediaError(self._media.path, lead)
        with replacing(path) as temporary, temporary.open("r+b") as file:
            part = self._copy(anchor, CopiedPart(first, end), file, key_frame.seek, began)
            if part.end <= start:
                raise self._nothing(start, end)
        return part

    def _find_key_frame(self, anchor: StreamInfo, start: float, began: float) -> _KeyFrame:
        """Find the last key frame that is not later than `start`."""
        for back in (*_SEEK_BACK, None):
            seek = None if back is None or start <= back else start - back
            found, ends = None, True
            for packet in self._packets([anchor], anchor, seek, began):
                place = _seconds(packet)
                if packet.is_keyframe and place <= start + _NO_HOLE:
                    found = place
                if _seconds(packet, decoded=True) > start:
                    ends = False
                    break
            if found is not None or seek is None:
                return _KeyFrame(found, seek, ends)
        raise AssertionError("the last place to read from is the start of the file")

    def _copy(self, anchor: StreamInfo, wanted: CopiedPart, file: Any, seek: float | None, began: float) -> CopiedPart:
        selected = list(self._media.selected)
        with open_container(self._media.path, long_look=self._media.long_look) as container:
            try:
                with av.open(file, "w", format=self._muxer) as output:
                    streams = {
                        stream.index: output.add_stream_from_template(container.streams[stream.index], opaque=True)
                        for stream in selected
                    }
                    parts = {stream.index: _PartOfStream(wanted) for stream in selected}
                    packets = self._read(container, selected, anchor, seek, began)
                    for packet in packets:
                        part = parts[packet.stream_index]
                        for chosen in part.choose(packet, key_frame_first=packet.stream_index == anchor.index):
                            self._shift(chosen, wanted.start)
                            chosen.stream = streams[packet.stream_index]
                            output.mux(chosen)
                        if all(part.ended for part in parts.values()):
                            break
            except (av.error.FFmpegError, ValueError) as error:
                raise self._refused(error) from error
        end = max((part.end for part in parts.values() if part.end is not None), default=wanted.start)
        return CopiedPart(max(0.0, wanted.start), end)

    def _nothing(self, start: float, end: float) -> MediaError:
        return MediaError(self._media.path, f"has nothing between {start:g} s and {end:g} s")

    def _refused(self, error: Exception) -> MediaError:
        reason = getattr(error, "strerror", None) or error
        cause = f"cannot be copied into {self._muxer} ({escape(reason)}); --exact encodes it anew"
        return MediaError(self._media.path, cause)

    def _packets(
        self, selected: list[StreamInfo], anchor: StreamInfo, seek: float | None, began: float
    ) -> Iterator[av.packet.Packet]:
        with open_container(self._media.path, long_look=self._media.long_look) as container:
            yield from self._read(container, selected, anchor, seek, began)

    def _read(
        self,
        container: av.container.InputContainer,
        selected: list[StreamInfo],
        anchor: StreamInfo,
        seek: float | None,
        began: float,
    ) -> Iterator[av.packet.Packet]:
        """Yield packets with time stamps on the clock of the file, from a key frame near `seek` or from the start."""
        may_jump = bool(container.format.flags & av.format.Flags.ts_discont.value)
        if seek is not None and not may_jump:  # time stamps after a jump say nothing about places in the file
            stream = container.streams[anchor.index]
            assert stream.time_base is not None
            container.seek(int((seek + self._media.start) / stream.time_base), stream=stream)
        streams = [container.streams[stream.index] for stream in selected]
        clock = MediaClock(self._media.start, [stream.index for stream in streams], may_jump=may_jump)
        first: float | None = None
        for packet in clock.place(_readable(container, streams)):
            if packet.pts is None and packet.dts is None:
                continue  # of damaged files
            self._progress()
            first = _seconds(packet) if first is None else first
            reached = max(0.0, _seconds(packet) - first)
            if time.monotonic() - began > self._timeout * (1 + reached / _SECONDS_PER_LIMIT):
                raise DecodeTimeoutError(self._media.path, f"cutting took more than {self._timeout:g} s")
            yield packet

    @staticmethod
    def _shift(packet: av.packet.Packet, base: float) -> None:
        assert packet.time_base is not None
        ticks = round(base / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - ticks
        packet.dts = None if packet.dts is None else packet.dts - ticks


def _readable(container: av.container.InputContainer, streams: list[av.stream.Stream]) -> Iterator[av.packet.Packet]:
    """Yield packets up to the end of the file, or to damage behind which nothing can be read."""
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        if packet.size:  # not the mark of a stream's end
            yield packet


class _PartOfStream:
    """Choice of the packets of one stream for a cut.

    Attributes:
        end: seconds, the end of the last chosen packet; None where there is none.
        ended: whether all packets that follow in the file are later than the cut.
    """

    def __init__(self, wanted: CopiedPart) -> None:
        self.end: float | None = None
        self.ended = False
        self._start, self._stop = wanted.start - _NO_HOLE, wanted.end - _NO_HOLE
        self._begun = False
        self._later: list[av.packet.Packet] = []  # shown after the cut, but maybe needed for frames that follow

    def choose(self, packet: av.packet.Packet, *, key_frame_first: bool) -> list[av.packet.Packet]:
        """Return the packets that are to be written now that this one was read."""
        shown = _seconds(packet)
        if self.ended or shown < self._start:  # pictures that are shown before the key frame need those before it
            return []
        if not self._begun and key_frame_first and not packet.is_keyframe:
            return []
        self._begun = True
        if _seconds(packet, decoded=True) >= self._stop:
            self.ended = True
            return []
        self._later.append(packet)
        self.ended = len(self._later) > _MAX_LATER
        if shown >= self._stop:
            return []
        chosen, self._later = self._later, []
        ends = [_seconds(each) + float((each.duration or 0) * (each.time_base or 0)) for each in chosen]
        self.end = max(ends if self.end is None else [self.end, *ends])
        return chosen


def _seconds(packet: av.packet.Packet, *, decoded: bool = False) -> float:
    """Return when a packet is shown, or decoded, on the clock of the file."""
    first, second = (packet.dts, packet.pts) if decoded else (packet.pts, packet.dts)
    ticks = second if first is None else first
    assert ticks is not None
    return float(ticks * (packet.time_base or 0))
