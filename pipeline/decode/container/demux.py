"""Packets and frames of one stream of a media file, on the file's clock, with damage and the reasons for it.

Audio and video are read by two passes over the file. Both read the packets of both streams, so both compute the same
clock, and neither waits for packets of the other, which a badly interleaved file has far apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import av.codec.hwaccel
import av.container
import av.error
import av.format
import av.logging
import av.packet
import av.stream

from ...errors import DecodeTimeoutError, MediaError
from .clean_starts import PacketSkipper
from .media_clock import MediaClock
from .media_file import MAX_PIXELS
from .media_info import MediaInfo, StreamInfo
from .ogg_pages import last_page_is_cut
from .opened import open_container
from .report import DecodeReport

_MAX_DEMUX_ERRORS = 20  # after which the rest of a file is given up
_SPLICE = 1.0  # seconds around a join in which packets are marked, because their counters do not continue
_SECONDS_PER_LIMIT = 10.0  # of media for which the time limit grows by itself once


class StreamPackets:
    """Packets of one stream with time stamps on the file's clock; iterated once.

    Attributes:
        report: receives errors of the container.
        first_error: the first error that FFmpeg reported, empty if there was none.
        opened: PyAV's stream, during the iteration.
    """

    opened: Any
    _gpu: av.codec.hwaccel.HWAccel | None = None

    def __init__(self, media: MediaInfo, stream: StreamInfo, report: DecodeReport, timeout: float) -> None:
        """Choose a stream; nothing is opened yet.

        Args:
            media: the probed file.
            stream: one of its selected streams.
            report: outcome of the stream; changed during the iteration.
            timeout: seconds that reading and decoding may take, and as much again for every 10 s of media.
        """
        self.media, self.stream, self.report = media, stream, report
        self.first_error = ""
        self.reached = 0.0  # seconds on the file's clock
        self._timeout = timeout
        self._spent = 0.0  # seconds of reading and decoding, without those of the code that uses the results
        self._corrupt_packets = 0  # whose frames have not come yet

    def __iter__(self) -> Iterator[av.packet.Packet]:
        return (packet for packet in self._read() if packet is not None)

    def _read(self) -> Iterator[av.packet.Packet | None]:
        """Yield the packets, and None at their end, while the container is still open."""
        if self.stream.problem:
            raise MediaError(self.media.path, self.stream.problem, "unsupported")
        av.logging.set_skip_repeated(False)  # the other pass has reported the same
        with open_container(self.media.path, long_look=self.media.long_look, gpu=self._gpu) as container:
            self.opened = container.streams[self.stream.index]
            self._set_track_end(container)
            selected = [stream.index for stream in self.media.selected]
            may_jump = bool(container.format.flags & av.format.Flags.ts_discont.value)
            clock = MediaClock(self.media.start, selected, may_jump=may_jump)
            self.report.joins = clock.joins
            for packet in clock.place(self._packets(container, [container.streams[index] for index in selected])):
                if packet.stream_index == self.stream.index:
                    yield packet
            if container.format.name == "ogg" and last_page_is_cut(self.media.path):
                self.report.stopped = True
            yield None

    def _packets(
        self, container: av.container.InputContainer, selected: list[av.stream.Stream]
    ) -> Iterator[av.packet.Packet]:
        """Read packets; what cannot be read is reported, and reading goes on behind it."""
        packets = container.demux(selected)
        errors = 0
        while errors < _MAX_DEMUX_ERRORS:
            started = time.monotonic()
            with av.logging.Capture() as log:
                try:
                    packet = next(packets, None)
                except av.error.FFmpegError as error:
                    packet = error
                except IndexError:  # PyAV's answer to a packet of a stream that was not there when the file was opened
                    packets = container.demux(selected)
                    continue
                finally:
                    self._account(started, log)
            for _, name, message in log:
                if name == container.format.name:
                    self._note_error(message)
            if isinstance(packet, av.error.FFmpegError):
                errors += 1
                self.report.stopped = True
                self._note_error(str(packet.strerror))
                packets = container.demux(selected)
            elif packet is None:
                return
            elif packet.size or packet.dts is not None:  # not the mark of a stream's end
                self.report.stopped = False
                yield packet

    def _set_track_end(self, container: av.container.InputContainer) -> None:
        """Note where an MP4 audio track ends: its last frame may be longer."""
        if self.stream.kind == "audio" and "mp4" in container.format.name.split(",") and self.opened.duration:
            end = (self.opened.start_time or 0) + self.opened.duration
            self.report.track_end = float(end * self.opened.time_base) - self.media.start

    def _account(self, started: float, log: list[tuple[int, str, str]]) -> None:
        """Keep the first error of a call of FFmpeg, and limit the time that is spent on the whole file."""
        self._spent += time.monotonic() - started
        if log and not self.first_error:
            self.first_error = log[0][2].strip()
        if self._spent > self._timeout * (1 + self.reached / _SECONDS_PER_LIMIT):
            progress = f"{self._spent:.0f} s for {self.reached:.0f} s of media"
            raise DecodeTimeoutError(self.media.path, f"decoding was too slow and was stopped ({progress})")

    def _note_error(self, message: str) -> None:
        self.report.container_errors.append(message.strip())
        self.first_error = self.first_error or message.strip()


class StreamFrames(StreamPackets):
    """Decoded frames of one stream, in the order of presentation; iterated once.

    The time stamps of the frames count from the start of the file's clock. Where the report begins later, frames of a
    video before that are left out if they need not be decoded, apart from the first.
    """

    def __init__(
        self,
        media: MediaInfo,
        stream: StreamInfo,
        report: DecodeReport,
        timeout: float,
        on_skip: Callable[[], None] = lambda: None,
        *,
        gpu: av.codec.hwaccel.HWAccel | None = None,
    ) -> None:
        """Choose a stream; nothing is opened yet.

        Args:
            media: the probed file.
            stream: one of its selected streams.
            report: outcome of the stream; changed during the iteration.
            timeout: see `StreamPackets`.
            on_skip: called often while nothing is decoded.
            gpu: that decodes, of `find_gpu`; None is the CPU.
        """
        super().__init__(media, stream, report, timeout)
        self._on_skip, self._gpu = on_skip, gpu

    def __iter__(self) -> Iterator[Any]:
        skipper = PacketSkipper(self.report.start) if self.stream.kind == "video" and self.report.start else None
        begun = False
        for packet in self._read():
            if skipper is None or not begun:
                for frame in self._decode(packet):
                    begun = True
                    yield frame
                continue
            needed = skipper.finish() if packet is None else skipper.add(packet, self.opened.codec_context)
            if packet is not None and not needed:
                self._note_reached(packet)
            if needed and skipper.skipped:
                skipper.skipped = False
                self.opened.codec_context.flush_buffers()
            for later in needed:
                yield from self._decode(later)
            if packet is None:
                yield from self._decode(None)

    def _note_reached(self, packet: av.packet.Packet) -> None:
        """Note the time of a packet that is not decoded yet."""
        if packet.pts is not None and packet.time_base:
            self.reached = max(self.reached, float(packet.pts * packet.time_base))
        self._on_skip()

    def _is_reported(self, part: Any) -> bool:
        """Return whether a packet or frame, None at the end, is not shown before the report begins."""
        if part is None or part.pts is None or not part.time_base:
            return True
        return float(part.pts * part.time_base) >= self.report.start

    def _is_damaged(self, part: Any) -> bool:
        """Return whether a packet or frame is marked as corrupt; where recordings are joined, it lacks nothing."""
        if not part.is_corrupt or part.pts is None:
            return bool(part.is_corrupt)
        time = float(part.pts * part.time_base)
        return all(abs(time - join) > _SPLICE for join in self.report.joins)

    def _decode(self, packet: av.packet.Packet | None) -> Iterator[Any]:
        if packet is not None and packet.has_sidedata("encryption_info"):
            raise MediaError(self.media.path, f"its {self.stream.kind} is encrypted", "encrypted")
        context, frames, failure = self.opened.codec_context, [], None
        if not context.is_open:
            context.thread_count = 1  # with several, damaged frames are different in every run
            context.options = {"max_pixels": str(MAX_PIXELS)}
        started = time.monotonic()
        with av.logging.Capture() as log:
            try:
                frames = self.opened.decode(packet)
            except av.error.FFmpegError as error:
                failure = str(error.strerror)
        self._account(started, log)
        if failure is not None:
            self.report.damaged += self._is_reported(packet)
            self.first_error = self.first_error or failure
        elif (
            packet is not None
            and self.stream.kind == "video"
            and self._is_reported(packet)
            and self._is_damaged(packet)
        ):
            self.report.damaged += 1  # its frame may never come
            self._corrupt_packets += 1
        for frame in frames:
            if frame.time_base is None:  # those that the decoder had kept until the end
                frame.time_base = self.opened.time_base
            if self._is_reported(frame) and self._is_damaged(frame):
                if self._corrupt_packets:  # counted with its packet
                    self._corrupt_packets -= 1
                else:
                    self.report.damaged += 1
            self.reached = max(self.reached, frame.time or 0.0)
            yield frame
