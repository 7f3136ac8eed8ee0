"""`--exact`: cuts that are encoded anew begin within a frame of the time that was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import DecodeTimeoutError, MediaError, OutputError
from avvp.pipeline.outputs.cuts import write_cuts
from avvp.pipeline.outputs.cuts.containers import exact_container
from avvp.pipeline.outputs.cuts.write_cuts import Part, WrittenPart, encode_parts
from support.cut_media import frame_numbers, frame_times, keyed, samples, sound
from support.media import Clips


def encode(media: Path, folder: Path, start: float, end: float) -> tuple[Path, WrittenPart]:
    container = exact_container(media)
    path = folder / f"cut{container.suffix}"
    (written,) = encode_parts(media, [Part(start, end, path)], muxer=container.muxer, timeout=60)
    assert isinstance(written, WrittenPart), written
    return path, written


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".webm"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (1.3, 2.1), (1.75, 1.8), (2.5, 9.0)])
def test_first_frame_is_the_first_at_the_start(
    clips: Clips, tmp_path: Path, suffix: str, start: float, end: float
) -> None:
    media = keyed(clips, suffix)
    path, written = encode(media, tmp_path, start, end)
    zero = probe(media).start
    shown = {number: time - zero for number, time in zip(frame_numbers(media), frame_times(media), strict=True)}
    expected = [number for number, time in shown.items() if start - 2e-3 <= time < end - 2e-3]
    numbers, times = frame_numbers(path), frame_times(path)
    if suffix == ".avi":  # whose frames have no time stamps, but a number
        assert abs(numbers[0] - expected[0]) <= 1
        assert abs(len(numbers) - len(expected)) <= 1
    else:
        assert numbers == expected
        assert [start + time for time in times] == pytest.approx([shown[number] for number in expected], abs=3e-3)
    assert written.start == start
    assert written.end == pytest.approx(min(end, 3.0), abs=0.1)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".m4a", ".mp3"])
def test_samples_begin_at_the_start(clips: Clips, tmp_path: Path, suffix: str) -> None:
    media = sound(clips, suffix)
    path, _ = encode(media, tmp_path, 1.3, 2.1)
    first_time, whole = samples(media)
    begin = round((1.3 + probe(media).start - first_time) * 48_000)
    _, part = samples(path)
    middle = part[8_000:30_000]
    lags = range(-1200, 1200, 4)
    errors = [np.abs(whole[begin + 8_000 + lag : begin + 30_000 + lag] - middle).mean() for lag in lags]
    assert abs(lags[int(np.argmin(errors))]) <= 48 * 12  # 12 ms; a rising tone fits at one place only
    assert probe(path).duration == pytest.approx(0.8, abs=0.05)


def test_rotated_frames_are_turned(clips: Clips, tmp_path: Path) -> None:
    path, _ = encode(clips.rotated, tmp_path, 0.5, 1.0)
    video = probe(path).video
    assert video is not None
    assert (video.width, video.height, video.rotation) == (48, 64, 0.0)


def test_variable_frame_rates_stay(clips: Clips, tmp_path: Path) -> None:
    path, _ = encode(clips.variable, tmp_path, 1.5, 3.0)
    times = clips.variable_times[(clips.variable_times >= 1.5) & (clips.variable_times < 3.0)]
    assert frame_times(path) == pytest.approx(list(times - 1.5), abs=2e-3)


def test_streams_and_sizes(clips: Clips, tmp_path: Path) -> None:
    assert [stream.kind for stream in probe(encode(clips.silent, tmp_path, 0, 1)[0]).streams] == ["video"]
    odd = probe(encode(clips.odd, tmp_path, 0, 0.5)[0]).video
    assert odd is not None
    assert (odd.width, odd.height) == (100, 66)
    dot = probe(encode(clips.dot, tmp_path, 0, 0.5)[0]).video
    assert dot is not None
    assert (dot.width, dot.height) == (2, 2)
    video = probe(encode(clips.two_streams, tmp_path, 0, 1)[0]).video
    assert video is not None
    assert (video.width, video.height) == (64, 48)  # the one that players show


def test_recordings_that_were_joined_are_decoded_from_their_start(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ffmpeg looks for 0.5 s in the second part, where there is nothing."""
    monkeypatch.setattr(write_cuts, "_LEAD", 0.0)
    path, _ = encode(clips.growing, tmp_path, 0.5, 1.5)
    assert len(frame_times(path)) == pytest.approx(8, abs=1)


class TestFailures:
    def fails(self, media: Path, folder: Path, start: float = 0.0, timeout: float = 60) -> MediaError:
        (error,) = encode_parts(media, [Part(start, start + 1, folder / "cut.mp4")], muxer="mp4", timeout=timeout)
        assert isinstance(error, MediaError)
        assert list(folder.iterdir()) == []
        return error

    def test_nothing_there(self, clips: Clips, tmp_path: Path) -> None:
        assert "has nothing between 50 s and 51 s" in str(self.fails(clips.steady, tmp_path, 50))

    def test_what_is_no_video(self, clips: Clips, tmp_path: Path) -> None:
        assert "is incomplete" in str(self.fails(clips.headless, tmp_path))

    def test_too_slow(self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = write_cuts._Encoder(clips.steady, "mp4", 60)
        monkeypatch.setattr(encoder, "_timeout", 1e-6)
        with pytest.raises(DecodeTimeoutError):
            encoder.encode(Part(0, 1, tmp_path / "cut.mp4"), tmp_path / "cut.mp4")

    def test_a_disk_without_space(self, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextlib.contextmanager
        def full(_path: Path) -> Iterator[Path]:
            yield Path("/dev/full")

        monkeypatch.setattr(write_cuts, "replacing", full)
        with pytest.raises(OutputError, match=r"cut\.mp4: cannot be written: No space left on device"):
            list(encode_parts(clips.steady, [Part(0, 1, tmp_path / "cut.mp4")], muxer="mp4", timeout=60))

    def test_hostile_names(self, clips: Clips, tmp_path: Path) -> None:
        folder = tmp_path / "-i 100%d\n'"
        folder.mkdir()
        media = folder / "concat:x|%03d.mp4"
        media.write_bytes(clips.steady.read_bytes())
        path, _ = encode(media, folder, 0, 1)
        assert frame_numbers(path)[:3] == [0, 1, 2]
