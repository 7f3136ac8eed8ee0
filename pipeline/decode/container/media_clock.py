"""One clock for the streams of a file: every packet's time stamps count from the start of the file.

Recordings that were joined end to end start their time stamps anew, in every stream. The parts stay in step: the next
part begins where the longest stream of the part before ends. A forward jump in one stream alone is a hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

BACKWARD_JUMP = 0.5  # seconds; within a part, time stamps of decoding never go back
FORWARD_JUMP = 60.0  # seconds; a longer jump of all streams is a new part, a shorter one a hole in all of them
_WRAP = 2**33 / 90_000  # seconds after which the time stamps of MPEG-TS and MPEG-PS start again from zero
_HELD_PACKETS = 2000  # that are kept back until it is known which streams jump
_HELD_SECONDS = 5.0  # of a stream after its jump, within which the others must jump to begin the same part
_STRAGGLERS = 2  # packets; so few at the end of a file begin no new part
_STRAY_SECONDS = 0.5  # of packets that share one wrong time stamp: those of one packet of the container
_ALL_JUMPED_SECONDS = 1.0  # more than the reordering of frames, which may show an earlier frame later


class ClockPacket(Protocol):
    """The part of a PyAV packet that the clock needs; times are in ticks of `time_base` seconds."""

    pts: int | None
    dts: int | None

    @property
    def stream_index(self) -> int: ...

    @property
    def duration(self) -> int | None: ...

    @property
    def time_base(self) -> Fraction | None: ...


Packet = TypeVar("Packet", bound=ClockPacket)


class _Timed(Generic[Packet]):
    """A packet and its time stamps in seconds, as stored.

    Computed once per packet, in integers: with fractions they take as long as decoding a small frame.
    """

    __slots__ = ("decoded", "denominator", "numerator", "packet", "shown", "stream")

    def __init__(self, packet: Packet) -> None:
        tick, decoded, shown = packet.time_base, packet.dts, packet.pts
        self.numerator, self.denominator = tick.as_integer_ratio() if tick else (0, 1)
        self.packet, self.stream = packet, packet.stream_index
        self.decoded = None if decoded is None else decoded * self.numerator / self.denominator
        self.shown = None if shown is None else shown * self.numerator / self.denominator

    def forget_stamps(self) -> None:
        """Take away wrong time stamps: the packet then follows the one before."""
        self.packet.pts = self.packet.dts = self.decoded = self.shown = None


@dataclass
class _StreamClock:
    """Position of one stream."""

    offset: float  # seconds that are added to its time stamps
    last: float | None = None  # seconds; its last time stamp of decoding, as stored
    end: float = 0.0  # seconds; end of its last packet on the file's clock


@dataclass
class _Jump:
    """The packets of a stream since its time stamps jumped."""

    forward: bool
    first: float  # seconds; smallest presentation time stamp, as stored
    last: float  # seconds; largest time stamp of decoding, as stored
    packets: int = 1


class MediaClock:
    """Placement of packets on the clock of a file.

    Attributes:
        joins: seconds at which a new part begins.
    """

    def __init__(self, start: float, streams: Iterable[int], *, may_jump: bool) -> None:
        """Set the zero of the clock.

        Args:
            start: seconds; the time stamp that becomes zero.
            streams: indices of the streams that share the clock.
            may_jump: whether the container allows time stamps that jump (MPEG-TS, MPEG-PS, Ogg).
        """
        self.joins: list[float] = []
        self._may_jump = may_jump
        self._streams = {index: _StreamClock(-start) for index in streams}

    def place(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Shift the time stamps of packets so that they count from the zero of the clock.

        Args:
            packets: of the streams of the clock, in the order of the file; changed.

        Yields:
            The packets, in the same order.
        """
        held: list[tuple[_Timed[Packet], bool]] = []  # and whether the packet comes after a jump of its stream
        jumps: dict[int, _Jump] = {}
        for packet in map(_Timed, packets):
            index = packet.stream
            if index in jumps:
                if self._returns(packet, jumps[index]):
                    del jumps[index]
                    for other, after in held:
                        if after and other.stream == index:
                            other.forget_stamps()
                    held = [(other, after and other.stream != index) for other, after in held]
                else:
                    _extend(jumps[index], packet)
            elif self._jumps(packet, among_others=bool(jumps)):
                jumps[index] = self._begin_jump(packet)
            elif not held:
                yield self._shift(packet)
                continue
            held.append((packet, index in jumps))
            if index not in jumps:
                self._remember(packet)
            if not jumps or len(held) >= _HELD_PACKETS or self._is_decided(jumps):
                yield from self._release(held, jumps)
                held, jumps = [], {}
        ended = {index: jump for index, jump in jumps.items() if jump.packets > _STRAGGLERS}
        yield from self._release([(packet, packet.stream in ended and after) for packet, after in held], ended)

    def _returns(self, packet: _Timed[Packet], jump: _Jump) -> bool:
        """Return whether a stream continues at its earlier position, after a few packets with other time stamps."""
        stamp, last = packet.decoded, self._streams[packet.stream].last
        if stamp is None or last is None or jump.last - jump.first > _STRAY_SECONDS:
            return False
        return last <= stamp < last + BACKWARD_JUMP and abs(stamp - jump.last) > BACKWARD_JUMP

    def _jumps(self, packet: _Timed[Packet], *, among_others: bool) -> bool:
        clock, stamp = self._streams[packet.stream], packet.decoded
        if stamp is None:
            return False
        if clock.last is None:  # a stream that begins among packets of a new part belongs to it
            return among_others
        if stamp < clock.last - BACKWARD_JUMP:
            if self._may_jump and abs(stamp + _WRAP - clock.last) < FORWARD_JUMP:
                clock.offset += _WRAP
                clock.last = stamp
                return False
            return True
        if not self._may_jump or stamp < clock.last + FORWARD_JUMP:
            return False
        reached = stamp + clock.offset - FORWARD_JUMP / 2
        others = (other for index, other in self._streams.items() if index != packet.stream)
        return not any(other.end > reached for other in others)  # if the other goes on, it is a hole

    def _begin_jump(self, packet: _Timed[Packet]) -> _Jump:
        assert packet.decoded is not None
        last = self._streams[packet.stream].last
        first = packet.decoded if packet.shown is None else packet.shown
        return _Jump(last is None or packet.decoded > last, first, packet.decoded)

    def _is_decided(self, jumps: dict[int, _Jump]) -> bool:
        passed = max(jump.last - jump.first for jump in jumps.values())
        return passed > (_ALL_JUMPED_SECONDS if len(jumps) == len(self._streams) else _HELD_SECONDS)

    def _release(self, held: list[tuple[_Timed[Packet], bool]], jumps: dict[int, _Jump]) -> Iterator[Packet]:
        before = {index: clock.end for index, clock in self._streams.items()}
        for packet, after_jump in held:
            if not after_jump:
                self._shift(packet)
        # A recording can end with a few packets of the other stream.
        go_on = [i for i, clock in self._streams.items() if i not in jumps and clock.end - before[i] > 1.0]
        if jumps and not go_on:
            end = max(clock.end for clock in self._streams.values())
            self.joins.append(end)
            for clock in self._streams.values():
                clock.offset = end - min(jump.first for jump in jumps.values())
        elif go_on:  # the time stamps of one stream alone are wrong, or there is a hole in it
            for index, jump in jumps.items():
                if not jump.forward:
                    self._streams[index].offset = self._streams[index].end - jump.first
        for index in jumps:
            self._streams[index].last = None
        for packet, after_jump in held:
            yield self._shift(packet) if after_jump else packet.packet

    def _shift(self, timed: _Timed[Packet]) -> Packet:
        self._remember(timed)
        packet, clock = timed.packet, self._streams[timed.stream]
        numerator, denominator = timed.numerator, timed.denominator
        shown, decoded = packet.pts, packet.dts
        if clock.offset and numerator:
            ticks = round(clock.offset / (numerator / denominator))
            if shown is not None:
                packet.pts = shown = shown + ticks
            if decoded is not None:
                packet.dts = decoded = decoded + ticks
        stamp = decoded if shown is None else shown
        if stamp is not None:
            clock.end = max(clock.end, (stamp + (packet.duration or 0)) * numerator / denominator)
        return packet

    def _remember(self, packet: _Timed[Packet]) -> None:
        stamp, clock = packet.decoded, self._streams[packet.stream]
        if stamp is not None and (clock.last is None or stamp >= clock.last - BACKWARD_JUMP):
            clock.last = stamp


def _extend(jump: _Jump, packet: _Timed[Packet]) -> None:
    jump.packets += 1
    if packet.decoded is not None:
        jump.last = max(jump.last, packet.decoded)
    if packet.shown is not None:
        jump.first = min(jump.first, packet.shown)
