"""Cuts whose packets are copied: which part, bit for bit, in every container; failures that leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.process import python_program
from avvp.pipeline.errors import DecodeTimeoutError, MediaError, OutputError
from avvp.pipeline.outputs.cuts import copy_packets, write_cuts
from avvp.pipeline.outputs.cuts.containers import copy_container
from avvp.pipeline.outputs.cuts.copy_packets import PacketCopier
from avvp.pipeline.outputs.cuts.write_cuts import Part, WrittenPart, copy_parts
from support.cut_media import frame_numbers, frame_times, keyed, packets, samples, sound
from support.media import Clips

VIDEO = [".mp4", ".mov", ".mkv", ".webm", ".ts", ".avi", ".wmv", ".mpg", ".flv"]
AUDIO = [".m4a", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".aac"]
START, END = 1.3, 2.1
RATE = 24  # frames per second of the steady clip


def cut(media: Path, folder: Path, start: float = START, end: float = END) -> tuple[Path, WrittenPart]:
    container = copy_container(media)
    path = folder / f"cut{container.suffix}"
    (written,) = copy_parts(media, [Part(start, end, path)], muxer=container.muxer, timeout=60)
    assert isinstance(written, WrittenPart), written
    return path, written


class TestWhatIsCopied:
    @pytest.mark.parametrize("suffix", VIDEO)
    def test_video_bit_for_bit_from_the_key_frame_before(self, clips: Clips, tmp_path: Path, suffix: str) -> None:
        media = keyed(clips, suffix)
        path, written = cut(media, tmp_path)
        source, copied = packets(media, "video"), packets(path, "video")
        start = max(packet.time for packet in source if packet.key_frame and packet.time <= START + 1e-3)
        assert written.start == pytest.approx(start, abs=2e-3)
        assert START - written.start <= 0.6
        assert copied[0].key_frame
        begin = next(number for number, packet in enumerate(source) if packet.time == start)
        # Pictures that are shown before the key frame, but stored behind it, need those before it.
        expected = [packet for packet in source[begin:] if packet.time >= start][: len(copied)]
        assert [packet.content for packet in copied] == [packet.content for packet in expected]
        first = copied[0].time
        assert [packet.time - first for packet in copied] == pytest.approx(
            [packet.time - start for packet in expected], abs=3e-3
        )
        assert all(
            packet.time >= END - 2e-3 for packet in source[begin:] if packet not in expected and packet.time > start
        )
        assert END <= written.end + 1e-2 < END + 3 / RATE
        assert max(packet.time + packet.duration for packet in copied) - first == pytest.approx(
            written.end - start, abs=1.5 / RATE
        )

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mpg", ".webm"])
    def test_frames_are_those_of_the_source(self, clips: Clips, tmp_path: Path, suffix: str) -> None:
        path, written = cut(keyed(clips, suffix), tmp_path)
        numbers = frame_numbers(path)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        first_frame = packets(keyed(clips, suffix), "video")[0].time  # of some containers, later than the sound
        assert numbers[0] == round((written.start - first_frame) * RATE)

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
    def test_sound_bit_for_bit_in_step_with_the_frames(self, clips: Clips, tmp_path: Path, suffix: str) -> None:
        media = keyed(clips, suffix)
        path, written = cut(media, tmp_path)
        source, copied = packets(media, "audio"), packets(path, "audio")
        begin = next(number for number, packet in enumerate(source) if packet.content == copied[1].content) - 1
        expected = source[begin : begin + len(copied)]
        assert [packet.content for packet in copied] == [packet.content for packet in expected]
        shift = packets(path, "video")[0].time - written.start
        assert [packet.time - shift for packet in copied] == pytest.approx([p.time for p in expected], abs=3e-3)

    @pytest.mark.parametrize("suffix", AUDIO)
    def test_media_without_video_are_cut_at_packets(self, clips: Clips, tmp_path: Path, suffix: str) -> None:
        media = sound(clips, suffix)
        path, written = cut(media, tmp_path)
        source, copied = packets(media, "audio"), packets(path, "audio")
        longest = max(packet.duration for packet in source)
        assert START - longest <= written.start <= START
        assert END <= written.end + 1e-3 <= END + longest + 2e-3
        contents = [packet.content for packet in source]
        joined = b"".join(contents)
        assert b"".join(packet.content for packet in copied) in joined
        assert {packet.content for packet in copied} <= set(contents) or suffix == ".wav"  # cut into other packets

    @pytest.mark.parametrize("suffix", [".m4a", ".wav", ".flac"])
    def test_samples_are_those_of_the_stated_start(self, clips: Clips, tmp_path: Path, suffix: str) -> None:
        media = sound(clips, suffix)
        path, written = cut(media, tmp_path)
        _, whole = samples(media)
        _, part = samples(path)
        begin = round(written.start * 48_000)
        middle = slice(4_000, 20_000)
        expected = whole[begin:][middle]
        assert np.abs(part[middle] - expected).max() < 1e-3

    def test_rotation_stays(self, clips: Clips, tmp_path: Path) -> None:
        path, written = cut(clips.rotated, tmp_path)
        assert written.start == 0.0  # its only key frames are at 0 s and 2.67 s or so
        video = probe(path).video
        assert video is not None
        assert video.rotation == 90.0

    def test_variable_frame_rates_stay(self, clips: Clips, tmp_path: Path) -> None:
        path, written = cut(clips.variable, tmp_path, 1.0, 3.0)
        times = clips.variable_times[clips.variable_times >= written.start]
        shown = np.array(frame_times(path))
        assert shown - shown[0] == pytest.approx(times[: len(shown)] - times[0], abs=2e-3)
        assert written.end >= 2.8  # when the last frame before 3 s appears

    @pytest.mark.parametrize("kind", ["silent", "two_streams", "late_video"])
    def test_streams(self, clips: Clips, tmp_path: Path, kind: str) -> None:
        """Those that are parsed are cut: of several videos the one that players show."""
        media = getattr(clips, kind)
        path, _ = cut(media, tmp_path)
        chosen, copied = probe(media), probe(path)
        assert [stream.codec for stream in copied.streams] == [stream.codec for stream in chosen.selected]
        assert chosen.video is not None
        assert copied.video is not None
        assert copied.video.shown_size == chosen.video.shown_size

    def test_a_cut_before_the_first_frame_is_sound(self, clips: Clips, tmp_path: Path) -> None:
        path, written = cut(clips.late_video, tmp_path, 0.0, 0.5)
        assert written.start == 0.0
        assert packets(path, "audio")

    def test_recordings_that_were_joined(self, clips: Clips, tmp_path: Path) -> None:
        """Time stamps start anew at 2 s: the second part is found behind the first."""
        path, written = cut(clips.growing, tmp_path, 2.5, 3.0)
        assert written.start == pytest.approx(2.0, abs=0.01)
        second, copied = packets(clips.folder / "part1.ts", "video"), packets(path, "video")
        assert [packet.content for packet in copied] == [packet.content for packet in second[: len(copied)]]
        assert 8 <= len(copied) <= 10


class TestFailures:
    def copier(self, media: Path, muxer: str = "mp4", timeout: float = 60) -> PacketCopier:
        return PacketCopier(probe(media), muxer=muxer, timeout=timeout, progress=lambda: None)

    def test_nothing_is_left_where_the_media_have_nothing(self, clips: Clips, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="has nothing between 50 s and 51 s"):
            self.copier(clips.steady).copy(50, 51, tmp_path / "cut.mp4")
        assert list(tmp_path.iterdir()) == []

    def test_key_frames_too_far_apart(self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(copy_packets, "MAX_LEAD_SECONDS", 1)
        with pytest.raises(MediaError, match=r"its last key frame before 1\.3 s is at 0 s; --exact"):
            self.copier(clips.steady).copy(1.3, 2.0, tmp_path / "cut.mp4")
        assert list(tmp_path.iterdir()) == []

    def test_a_container_that_does_not_take_the_codec(self, clips: Clips, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match=r"cannot be copied into webm \(.*; --exact encodes it anew"):
            self.copier(clips.steady, "webm").copy(0, 1, tmp_path / "cut.webm")
        assert list(tmp_path.iterdir()) == []

    def test_too_slow(self, clips: Clips, tmp_path: Path) -> None:
        with pytest.raises(DecodeTimeoutError):
            self.copier(clips.steady, timeout=1e-9).copy(0, 1, tmp_path / "cut.mp4")
        assert list(tmp_path.iterdir()) == []

    def test_one_failure_does_not_keep_others_from_being_cut(self, clips: Clips, tmp_path: Path) -> None:
        parts = [Part(start, start + 1, tmp_path / f"{start}.mp4") for start in (0, 90, 1)]
        first, second, third = copy_parts(clips.steady, parts, muxer="mp4", timeout=60)
        assert isinstance(second, MediaError)
        assert isinstance(first, WrittenPart)
        assert isinstance(third, WrittenPart)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0.mp4", "1.mp4"]

    def test_what_is_no_video(self, clips: Clips, tmp_path: Path) -> None:
        parts = [Part(0, 1, tmp_path / "a.mp4"), Part(1, 2, tmp_path / "b.mp4")]
        results = list(copy_parts(clips.headless, parts, muxer="mp4", timeout=60))
        assert all(isinstance(result, MediaError) for result in results)
        assert len(results) == 2
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", ["truncated", "damaged"])
    def test_damage_behind_a_cut_does_not_matter(self, clips: Clips, tmp_path: Path, kind: str) -> None:
        path, written = cut(getattr(clips, kind), tmp_path, 0.2, 0.9)
        assert (written.start, written.end) == (0.0, pytest.approx(0.92, abs=0.1))
        assert len(packets(path, "video")) >= 20  # also those that are damaged themselves

    @pytest.mark.parametrize(
        ("program", "cause"),
        [("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by signal 11"), ("", "status 0")],
    )
    def test_a_crash_of_the_process_fails_the_file_alone(
        self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, cause: str
    ) -> None:
        monkeypatch.setattr(write_cuts, "python_program", lambda *_: [sys.executable, "-c", program])
        parts = [Part(0, 1, tmp_path / "a.mp4"), Part(1, 2, tmp_path / "b.mp4")]
        results = list(copy_parts(clips.steady, parts, muxer="mp4", timeout=60))
        assert [cause in str(result) for result in results] == [True, True]

    def test_a_hanging_process_is_killed(self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            write_cuts, "python_program", lambda *_: [sys.executable, "-c", "import time; time.sleep(99)"]
        )
        monkeypatch.setattr(write_cuts, "_GRACE", 0.1)
        (result,) = copy_parts(clips.steady, [Part(0, 1, tmp_path / "a.mp4")], muxer="mp4", timeout=0.2)
        assert isinstance(result, DecodeTimeoutError)

    def test_a_disk_without_space(self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A limit on the size of files stands for it; it also ends writing in the middle."""
        code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        real = python_program

        def limited(module: str, *arguments: str) -> list[str]:
            python, flag, program, *rest = real(module, *arguments)
            return [python, flag, code + program, *rest]

        monkeypatch.setattr(write_cuts, "python_program", limited)
        with pytest.raises(OutputError, match=r"a\.mp4: cannot be written: File too large"):
            list(copy_parts(clips.steady, [Part(0, 1, tmp_path / "a.mp4")], muxer="mp4", timeout=60))
        assert list(tmp_path.iterdir()) == []

    def test_many_cuts_take_several_processes(
        self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write_cuts, "_CUTS_PER_PROCESS", 2)
        started: list[str] = []
        record: Callable[..., list[str]] = lambda *given: started.append(given[0]) or python_program(*given)  # noqa: E731
        monkeypatch.setattr(write_cuts, "python_program", record)
        parts = [Part(number / 2, number / 2 + 0.5, tmp_path / f"{number}.mp4") for number in range(5)]
        results = list(copy_parts(clips.steady, parts, muxer="mp4", timeout=60))
        assert all(isinstance(result, WrittenPart) for result in results)
        assert len(started) == 3

    def test_a_longest_name_fits_the_arguments_of_a_program(self) -> None:
        """Linux allows 128 KiB for one argument; a name of 255 bytes takes six characters for each in JSON."""
        cuts = [(1.0, 2.0, "\udcff" * 255)] * write_cuts._CUTS_PER_PROCESS
        assert len(json.dumps(cuts)) < 128 << 10
        subprocess.run([sys.executable, "-c", "pass", json.dumps(cuts)], check=True)
