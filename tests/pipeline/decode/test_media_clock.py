"""The clock of a file on made-up packets, and the choice of frames for a constant rate against ffmpeg's own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.decode.container.media_clock import MediaClock
from avvp.pipeline.decode.container.report import DecodeReport
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.video_frames import ConstantRate, VideoFrames
from support.clock_media import BARS, HEIGHT, WIDTH, frames, numbered
from support.media import ffmpeg

VIDEO, AUDIO = 0, 1
STEP = {VIDEO: 40, AUDIO: 20}  # milliseconds
WRAP = 2**33 / 90_000  # seconds


@dataclass
class Packet:
    """Times in milliseconds."""

    stream_index: int
    pts: int | None
    dts: int | None
    duration: int | None
    time_base: Fraction = Fraction(1, 1000)
    sent: float = 0.0  # milliseconds; the order in the file


def packets(index: int, start: float, stop: float, *, sent: float | None = None, delay: float = 0.0) -> list[Packet]:
    """Packets of one stream with time stamps from `start` to `stop`, in seconds.

    `sent` is where they lie in the file, by default at their time; `delay` is that of presentation.
    """
    step, first = STEP[index], round(start * 1000)
    place = first if sent is None else round(sent * 1000)
    return [
        Packet(index, stamp + round(delay * 1000), stamp, step, sent=place + stamp - first)
        for stamp in range(first, round(stop * 1000), step)
    ]


def place(
    *streams: list[Packet], start: float = 0.0, may_jump: bool = True
) -> tuple[dict[int, list[float]], list[float]]:
    """Place packets; return the times of presentation of each stream, and the joins."""
    order = sorted((packet for stream in streams for packet in stream), key=lambda packet: packet.sent)
    clock = MediaClock(start, [VIDEO, AUDIO], may_jump=may_jump)
    placed = list(clock.place(order))
    assert [id(packet) for packet in placed] == [id(packet) for packet in order]
    times = {
        index: [packet.pts / 1000 for packet in placed if packet.stream_index == index and packet.pts is not None]
        for index in (VIDEO, AUDIO)
    }
    return times, clock.joins


def seconds(*intervals: tuple[float, float], index: int) -> list[float]:
    """Times of packets without a gap in each interval."""
    return [time / 1000 for a, b in intervals for time in range(round(a * 1000), round(b * 1000), STEP[index])]


def check(
    placed: tuple[dict[int, list[float]], list[float]], *, joins: Iterable[float] = (), **expected: list[float]
) -> None:
    times, found = placed
    assert found == pytest.approx(list(joins), abs=1e-3)
    assert times[VIDEO] == pytest.approx(expected["video"], abs=1.1e-3)
    assert times[AUDIO] == pytest.approx(expected["audio"], abs=1.1e-3)


def test_start_becomes_zero() -> None:
    placed = place(packets(VIDEO, 1.4, 3.4), packets(AUDIO, 1.5, 3.4), start=1.4)
    check(placed, video=seconds((0, 2), index=VIDEO), audio=seconds((0.1, 2), index=AUDIO))


@pytest.mark.parametrize(("video_end", "audio_end", "join"), [(3.0, 2.2, 3.0), (3.0, 3.6, 3.6), (2.0, 2.0, 2.0)])
def test_parts_begin_where_the_longest_stream_ends(video_end: float, audio_end: float, join: float) -> None:
    placed = place(
        packets(VIDEO, 0, video_end),
        packets(AUDIO, 0, audio_end),
        packets(VIDEO, 0, 3, sent=4),
        packets(AUDIO, 0, 3, sent=4),
    )
    check(
        placed,
        joins=[join],
        video=seconds((0, video_end), (join, join + 3), index=VIDEO),
        audio=seconds((0, audio_end), (join, join + 3), index=AUDIO),
    )


def test_streams_of_a_part_stay_in_step() -> None:
    """The sound of the second part begins half a second after its picture."""
    placed = place(
        packets(VIDEO, 0, 3),
        packets(AUDIO, 0, 3),
        packets(VIDEO, 0, 3, sent=3),
        packets(AUDIO, 0.5, 3, sent=3.5),
    )
    check(
        placed,
        joins=[3.0],
        video=seconds((0, 6), index=VIDEO),
        audio=seconds((0, 3), (3.5, 6), index=AUDIO),
    )


def test_three_parts() -> None:
    parts = [stream for k in (0, 2, 4) for stream in (packets(VIDEO, 0, 2, sent=k), packets(AUDIO, 0, 2, sent=k))]
    check(place(*parts), joins=[2.0, 4.0], video=seconds((0, 6), index=VIDEO), audio=seconds((0, 6), index=AUDIO))


def test_part_an_hour_later() -> None:
    placed = place(
        packets(VIDEO, 0, 3),
        packets(AUDIO, 0, 3),
        packets(VIDEO, 3600, 3603, sent=3),
        packets(AUDIO, 3600, 3603, sent=3),
    )
    check(placed, joins=[3.0], video=seconds((0, 6), index=VIDEO), audio=seconds((0, 6), index=AUDIO))


def test_an_hour_between_is_kept_where_the_container_allows_no_jumps() -> None:
    placed = place(
        packets(VIDEO, 0, 3),
        packets(AUDIO, 0, 3),
        packets(VIDEO, 3600, 3603, sent=3),
        packets(AUDIO, 3600, 3603, sent=3),
        may_jump=False,
    )
    check(
        placed,
        video=seconds((0, 3), (3600, 3603), index=VIDEO),
        audio=seconds((0, 3), (3600, 3603), index=AUDIO),
    )


@pytest.mark.parametrize("hole", [12, 70, 700])
@pytest.mark.parametrize("index", [VIDEO, AUDIO])
def test_jump_of_one_stream_is_a_hole(index: int, hole: int) -> None:
    end, other = float(hole + 4), 1 - index
    placed = place(packets(other, 0, end), packets(index, 0, 2), packets(index, 2 + hole, end))
    times = {other: seconds((0, end), index=other), index: seconds((0, 2), (2 + hole, end), index=index)}
    check(placed, video=times[VIDEO], audio=times[AUDIO])


def test_short_jump_of_all_streams_is_a_hole() -> None:
    placed = place(packets(VIDEO, 0, 3), packets(AUDIO, 0, 3), packets(VIDEO, 30, 33), packets(AUDIO, 30, 33))
    check(placed, video=seconds((0, 3), (30, 33), index=VIDEO), audio=seconds((0, 3), (30, 33), index=AUDIO))


@pytest.mark.parametrize("lag", [0.0, 0.4])
def test_time_stamps_that_wrap(lag: float) -> None:
    """The sound wraps later in the file than the picture."""
    before = WRAP - 2
    placed = place(
        packets(VIDEO, before, WRAP, sent=0),
        packets(VIDEO, 0, 2, sent=2),
        packets(AUDIO, before, WRAP, sent=lag),
        packets(AUDIO, 0, 2, sent=2 + lag),
        start=before,
    )
    check(placed, video=seconds((0, 4), index=VIDEO), audio=seconds((0, 4), index=AUDIO))


def test_jump_after_a_wrap_is_a_new_part() -> None:
    placed = place(
        packets(VIDEO, WRAP - 1, WRAP, sent=0),
        packets(AUDIO, WRAP - 1, WRAP, sent=0),
        packets(VIDEO, 0, 2, sent=1),
        packets(AUDIO, 0, 2, sent=1),
        packets(VIDEO, 0, 2, sent=3),
        packets(AUDIO, 0, 2, sent=3),
        start=WRAP - 1,
    )
    check(placed, joins=[3.0], video=seconds((0, 5), index=VIDEO), audio=seconds((0, 5), index=AUDIO))


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize("stamp", [0.0, 500.0])
def test_one_wrong_time_stamp_begins_no_part(stamp: float, count: int) -> None:
    """Of all the packets that the container stores together."""
    end = 3 + 0.02 * count
    wrong = packets(AUDIO, stamp, stamp + end - 3, sent=3.0)
    placed = place(packets(VIDEO, 0, 6), packets(AUDIO, 0, 3), wrong, packets(AUDIO, end, 6))
    assert [(packet.pts, packet.dts) for packet in wrong] == [(None, None)] * count
    check(placed, video=seconds((0, 6), index=VIDEO), audio=seconds((0, 3), (end, 6), index=AUDIO))


def test_packets_of_the_part_before_that_come_late_stay_in_it() -> None:
    """The last 0.3 s of the first part's sound lie between the pictures of the second part."""
    placed = place(
        packets(VIDEO, 0, 3),
        packets(AUDIO, 0, 3, sent=0.3),
        packets(VIDEO, 0, 3, sent=3),
        packets(AUDIO, 0, 3, sent=3.3),
    )
    check(placed, joins=[3.0], video=seconds((0, 6), index=VIDEO), audio=seconds((0, 6), index=AUDIO))


def test_stream_that_begins_in_the_second_part() -> None:
    placed = place(packets(VIDEO, 0, 3), packets(VIDEO, 0, 3, sent=3), packets(AUDIO, 0.2, 3, sent=3.2))
    check(placed, joins=[3.0], video=seconds((0, 6), index=VIDEO), audio=seconds((3.2, 6), index=AUDIO))


def test_stream_that_ends_with_the_first_part() -> None:
    placed = place(packets(VIDEO, 0, 3), packets(AUDIO, 0, 3), packets(VIDEO, 0, 8, sent=3))
    check(placed, joins=[3.0], video=seconds((0, 11), index=VIDEO), audio=seconds((0, 3), index=AUDIO))


def test_stream_whose_time_stamps_alone_start_again_goes_on() -> None:
    placed = place(packets(VIDEO, 0, 20), packets(AUDIO, 0, 3), packets(AUDIO, 0, 17, sent=3))
    check(placed, video=seconds((0, 20), index=VIDEO), audio=seconds((0, 20), index=AUDIO))


def test_part_begins_with_its_first_frame_not_with_its_decoding() -> None:
    """Decoding runs 0.08 s ahead of presentation."""
    ahead = [packets(VIDEO, 0 if part == 0 else -0.08, 3, sent=3.0 * part, delay=0.08) for part in (0, 1)]
    placed = place(*ahead, packets(AUDIO, 0, 3), packets(AUDIO, 0, 3, sent=3.0))
    check(
        placed,
        joins=[3.08],
        video=seconds((0.08, 3.08), (3.08, 6.16), index=VIDEO),
        audio=seconds((0, 3), (3.08, 6.08), index=AUDIO),
    )


def test_packets_without_time_stamps_pass() -> None:
    bare = [Packet(AUDIO, None, None, 20, sent=time) for time in range(0, 2000, 20)]
    placed = place(packets(VIDEO, 1, 3, sent=0), bare, start=1.0)
    check(placed, video=seconds((0, 2), index=VIDEO), audio=[])


class TestConstantRate:
    @staticmethod
    def numbers(raw: bytes) -> list[int]:
        images = np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH)
        middles = images[:, HEIGHT // 2, np.arange(BARS) * WIDTH // BARS + WIDTH // (2 * BARS)]
        return ((middles > 127) << np.arange(BARS)).sum(axis=1).tolist()

    @pytest.mark.parametrize(
        ("shortest", "longest"), [(10, 60), (20, 200), (100, 160), (125, 125), (1, 1500), (30, 3000)]
    )
    @pytest.mark.parametrize("seed", range(2))
    def test_the_frames_are_those_of_ffmpeg(self, tmp_path: Path, shortest: int, longest: int, seed: int) -> None:
        """Frames that last between `shortest` and `longest` milliseconds."""
        random = np.random.default_rng(seed)
        lengths = random.integers(shortest, longest + 1, 40)
        times = np.concatenate([[0], np.cumsum(lengths)])[:40]
        path = tmp_path / "variable.mkv"
        pace = "+".join(f"{time}*eq(N,{number})" for number, time in enumerate(times))
        options = ("-vf", f"settb=1/1000,setpts='{pace}'", "-fps_mode", "passthrough", "-enc_time_base", "1/1000")
        ffmpeg(*frames(), *options, "-c:v", "ffv1", path, feed=numbered(0, 40))

        command = [ffmpeg_binary(), "-loglevel", "error", "-i", str(path), "-r", "8", "-fps_mode", "cfr"]
        command += ["-f", "rawvideo", "-pix_fmt", "gray", "-"]
        expected = self.numbers(subprocess.run(command, check=True, capture_output=True).stdout)
        assert expected == self.chosen(path)

    @staticmethod
    def chosen(path: Path) -> list[int]:
        """Numbers of the frames that `ConstantRate` chooses."""
        media = probe(path)
        assert media.video is not None
        rate, chosen, latest = ConstantRate(8), list[int](), 0
        for number, frame in enumerate(VideoFrames(media, media.video, DecodeReport("ffmpeg"), 60.0)):
            before, now = rate.add(frame.time, frame.length)
            chosen += [latest] * before + [number] * now
            latest = number
        return chosen + [latest] * rate.finish()
