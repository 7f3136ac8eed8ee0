"""Packets from which a video decoder can start and give the same frames as if it had read everything before."""

from __future__ import annotations

import re
from collections import deque
from typing import Protocol

import av.packet

# Of other codecs, and of keyframes of H.264 that are no IDR pictures, frames may depend on what came before.
_KEYFRAME_CODECS = {"av1", "ffv1", "hevc", "mjpeg", "mpeg2video", "prores", "vp8", "vp9"}
_CHANGES = ("new_extradata", "palette", "param_change", "display_matrix")  # that apply to all later packets
_START_CODE = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_IDR = 5  # type of a NAL unit of H.264 that holds a picture after which nothing refers to earlier ones
_ENDED = 1.5  # seconds; of a stream that ends before the part, the frames of the last second are needed
_MAX_BYTES = 64 << 20  # of packets that are kept until it is known whether they are needed


class _Codec(Protocol):
    """The part of a PyAV codec context that is needed."""

    @property
    def name(self) -> str: ...

    @property
    def extradata(self) -> bytes | None: ...


def is_clean_start(packet: av.packet.Packet, codec: _Codec) -> bool:
    """Return whether the frames from a packet on do not depend on earlier packets.

    Frames that are shown before the packet's own frame may depend on them.

    Args:
        packet: of a video stream.
        codec: its codec context.
    """
    if not packet.is_keyframe or packet.is_corrupt:
        return False
    return codec.name in _KEYFRAME_CODECS or (codec.name == "h264" and _has_idr(bytes(packet), codec.extradata or b""))


def _has_idr(data: bytes, extradata: bytes) -> bool:
    """Return whether a packet of H.264 has an IDR picture (ITU-T H.264, 7.4.1; ISO/IEC 14496-15 for lengths)."""
    if not extradata or extradata[0] != 1:  # Annex B: units begin with a start code
        return any(match[1][0] & 31 == _IDR for match in _START_CODE.finditer(data))
    if len(extradata) < 5:
        return False
    width, place = (extradata[4] & 3) + 1, 0
    while place + width < len(data):
        if data[place + width] & 31 == _IDR:
            return True
        place += width + int.from_bytes(data[place : place + width], "big")
    return False


class PacketSkipper:
    """Choice of the packets of a video stream that need not be decoded, because a later one is a clean start.

    Packets are kept until it is known whether they are needed. Nothing is skipped from the first packet on that has no
    time stamp, or changes the parameters of the decoder.

    Attributes:
        skipped: whether packets were left out since the last that was to be decoded.
    """

    def __init__(self, start: float) -> None:
        """Choose the part.

        Args:
            start: seconds on the file's clock; frames that are shown before are not needed.
        """
        self._start = start
        self._kept: deque[av.packet.Packet] = deque()
        self._bytes = 0
        self._clean: deque[tuple[float, av.packet.Packet]] = deque()  # those of the kept packets, and their times
        self._reached = 0.0  # seconds
        self._active = True
        self.skipped = False

    def add(self, packet: av.packet.Packet, codec: _Codec) -> list[av.packet.Packet]:
        """Take the next packet.

        Args:
            packet: of the stream, placed on the file's clock.
            codec: its codec context.

        Returns:
            The packets that must be decoded now.
        """
        if not self._active:
            return [packet]
        self._kept.append(packet)
        self._bytes += packet.size
        time = None if packet.pts is None or not packet.time_base else float(packet.pts * packet.time_base)
        if time is None or any(packet.has_sidedata(kind) for kind in _CHANGES):
            self._active = False
            return self.finish()
        self._reached = max(self._reached, time)
        if is_clean_start(packet, codec):
            self._clean.append((time, packet))
        if self._reached >= self._start:
            self._active = False
            self._forget_before(self._start)
            return self.finish()
        self._forget_before(self._reached - _ENDED)
        return self.finish() if self._bytes > _MAX_BYTES else []

    def finish(self) -> list[av.packet.Packet]:
        """Return the packets that are kept, which must be decoded now."""
        kept = list(self._kept)
        self._kept.clear()
        self._clean.clear()
        self._bytes = 0
        return kept

    def _forget_before(self, time: float) -> None:
        """Forget the packets before the last clean start that is not later than `time`, in seconds."""
        while self._clean and self._clean[0][0] <= time:
            _, start = self._clean.popleft()
            while self._kept[0] is not start:
                self._bytes -= self._kept.popleft().size
                self.skipped = True
