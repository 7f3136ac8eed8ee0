"""Contract tests of all frame readers, then tests of each one."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av.error
import numpy as np
import pytest
from avvp.pipeline.decode import decord_reader, ffmpeg_reader
from avvp.pipeline.decode.base import FrameReader
from avvp.pipeline.decode.container import gpu
from avvp.pipeline.decode.container.demux import StreamPackets
from avvp.pipeline.decode.container.report import DecodeReport
from avvp.pipeline.decode.ffmpeg_reader import CudaReader
from avvp.pipeline.decode.jpeg_frames import JpegFrames
from avvp.pipeline.decode.options import Part
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.process import DecoderProcess
from avvp.pipeline.decode.readers import build_reader
from avvp.pipeline.errors import DecodeTimeoutError, MediaError
from avvp.pipeline.segments import sample_times, shown_frames
from support.golden import MEDIA, needs_media
from support.media import Clips, read_number

READERS = ["ffmpeg", "decord", "auto", pytest.param("cuda", marks=pytest.mark.gpu)]
# Levels of 255 by which frames of one reader may differ from those of another: the GPU's have their colours side by
# side, and their conversion to RGB rounds otherwise.
TOLERANCES = {"cuda": 2.0}


def read(path: Path, name: str) -> tuple[np.ndarray, FrameReader]:
    reader = build_reader(probe(path), name)
    return np.concatenate(list(reader)), reader


def assert_equal_frames(frames: np.ndarray, reference: np.ndarray, name: str) -> None:
    assert frames.shape == reference.shape
    assert np.abs(frames.astype(int) - reference).mean() <= TOLERANCES.get(name, 0.0)


@pytest.mark.parametrize("name", READERS)
class TestContract:
    def test_samples_eight_a_second_at_the_middle_of_their_intervals(self, clips: Clips, name: str) -> None:
        frames, reader = read(clips.steady, name)
        expected = shown_frames(np.arange(72) / 24, sample_times(24, 8))
        assert [read_number(frame) for frame in frames] == expected.tolist()
        assert reader.report.decoded == 72
        assert reader.report.end == pytest.approx(3.0, abs=1e-3)
        assert reader.report.warnings == []

    def test_chunks_hold_eight_frames(self, clips: Clips, name: str) -> None:
        sizes = [len(chunk) for chunk in build_reader(probe(clips.steady), name)]
        assert sizes == [8, 8, 8]

    def test_variable_frame_rate_follows_presentation_times(self, clips: Clips, name: str) -> None:
        frames, _ = read(clips.variable, name)
        expected = shown_frames(clips.variable_times, sample_times(len(frames), 8))
        assert len(frames) in {30, 31, 32}  # the container does not say how long the last frame lasts
        assert [read_number(frame) for frame in frames] == expected.tolist()

    def test_frames_are_freed_without_the_garbage_collector(self, clips: Clips, name: str) -> None:
        read(clips.rotated, name)
        gc.collect()
        gc.disable()
        try:
            read(clips.rotated, name)
            assert gc.collect() == 0  # objects that were in circles
        finally:
            gc.enable()

    def test_rotation_metadata_is_applied(self, clips: Clips, name: str) -> None:
        frames, _ = read(clips.rotated, name)
        assert frames.shape[1:] == (64, 48, 3)
        upright, _ = read(clips.steady, name)
        turned = np.rot90(upright, 1, axes=(1, 2))  # the display matrix of 90 degrees is anti-clockwise
        assert np.abs(frames.astype(int) - turned).mean() < 2

    def test_the_default_of_several_streams_is_read(self, clips: Clips, name: str) -> None:
        frames, _ = read(clips.two_streams, name)
        assert frames.shape[1:] == (48, 64, 3)
        assert [read_number(frame) for frame in frames[:3]] == [1, 4, 7]

    def test_late_start_keeps_its_time(self, clips: Clips, name: str) -> None:
        frames, _ = read(clips.late_video, name)
        numbers = [read_number(frame) for frame in frames]
        assert numbers[:8] == [0] * 8
        assert numbers[8:] == list(range(16))

    def test_truncated_file_is_read_to_its_end_with_a_warning(self, clips: Clips, name: str) -> None:
        frames, reader = read(clips.truncated, name)
        assert 23 <= len(frames) < 48  # all that stand before the cut
        assert any("container states" in warning for warning in reader.report.warnings)

    def test_odd_sizes(self, clips: Clips, name: str) -> None:
        frames, _ = read(clips.odd, name)
        assert frames.shape == (8, 67, 101, 3)
        assert_equal_frames(frames, read(clips.odd, "ffmpeg")[0], name)

    def test_one_pixel(self, clips: Clips, name: str) -> None:
        frames, _ = read(clips.dot, name)
        assert frames.shape == (8, 1, 1, 3)
        assert frames[0, 0, 0, 0] > 200

    def test_no_video_is_an_error(self, clips: Clips, name: str) -> None:
        with pytest.raises(MediaError, match="no video stream"):
            build_reader(probe(clips.blind), name)

    @needs_media
    def test_pixels_agree_with_the_other_reader(self, name: str) -> None:
        path = MEDIA / "v_ZNVhz7ctTq0.mp4"
        frames, _ = read(path, name)
        reference, _ = read(path, "ffmpeg")
        assert_equal_frames(frames, reference, name)

    @needs_media
    def test_hevc_frames_are_not_misplaced(self, name: str) -> None:
        frames, _ = read(MEDIA / "h265_video.mp4", name)
        reference, _ = read(MEDIA / "h265_video.mp4", "ffmpeg")
        assert_equal_frames(frames, reference, name)


def large(clips: Clips) -> Path:
    """20 s of 720p that a GPU decodes: 4:2:0, with frames that refer to later ones."""
    if not (path := clips.folder / "large.mp4").exists():
        source = ("-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=20")
        clips.make(path.name, *source, "-c:v", "libx264", "-preset", "veryfast", "-bf", 3, "-pix_fmt", "yuv420p")
    return path


@pytest.mark.gpu
class TestGpu:
    def test_frames_are_decoded_by_the_gpu(self, clips: Clips) -> None:
        _, reader = read(clips.steady, "cuda")
        assert isinstance(reader, CudaReader)
        assert (reader._frames.on_gpu, reader.report.decoded) == (72, 72)
        assert reader.report.warnings == []

    def test_streams_that_it_cannot_decode_have_a_warning(self, clips: Clips) -> None:
        frames, reader = read(clips.odd, "cuda")
        np.testing.assert_array_equal(frames, read(clips.odd, "ffmpeg")[0])
        assert reader.report.warnings == ["the GPU cannot decode this ffv1 video; the CPU did"]

    @pytest.mark.parametrize("part", [Part(1, 2), Part(2), Part(5)])
    def test_parts(self, clips: Clips, part: Part) -> None:
        own, other = (build_reader(probe(clips.steady), name, part=part) for name in ("cuda", "ffmpeg"))
        for found, expected in zip(own, other, strict=True):
            assert_equal_frames(found, expected, "cuda")
        assert (own.held is None) == (other.held is None)
        if own.held is not None and other.held is not None:
            assert_equal_frames(own.held, other.held, "cuda")

    def test_long_video_does_not_run_out_of_surfaces(self, clips: Clips) -> None:
        path = large(clips)
        frames, reader = read(path, "cuda")
        assert len(frames) == 160
        assert_equal_frames(frames[::20], read(path, "ffmpeg")[0][::20], "cuda")
        assert reader.report.warnings == []

    def test_large_frames_are_scaled(self, clips: Clips) -> None:
        own, other = (
            np.concatenate(list(build_reader(probe(large(clips)), name, short_side=256, part=Part(0, 2))))
            for name in ("cuda", "ffmpeg")
        )
        assert own.shape[1:] == (256, 455, 3)
        assert_equal_frames(own, other, "cuda")

    def test_files_are_decoded_one_after_another_in_one_process(self, clips: Clips) -> None:
        for _ in range(5):
            assert len(read(clips.steady, "cuda")[0]) == 24

    def test_damaged_frames_are_counted(self, clips: Clips) -> None:
        frames, reader = read(clips.damaged, "cuda")
        assert len(frames)
        assert any("damaged" in warning for warning in reader.report.warnings)


def test_a_machine_without_a_gpu_is_an_error(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_no_gpu(_: object) -> None:
        raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(gpu, "_open_gpu", open_no_gpu)
    gpu._hold_gpu.cache_clear()
    message = r"no NVIDIA GPU with a driver that decodes video was found \(Operation not permitted\)"
    with pytest.raises(MediaError, match=f"{message}; use --decoder ffmpeg") as raised:
        list(build_reader(probe(clips.steady), "cuda"))
    assert raised.value.category == "unsupported"
    fault = gpu.gpu_fault()
    assert fault is not None
    assert re.fullmatch(message, fault)


def test_a_stream_that_the_cpu_decoded_in_place_of_the_gpu(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_reader, "find_gpu", lambda _: None)
    frames, reader = read(clips.steady, "cuda")
    np.testing.assert_array_equal(frames, read(clips.steady, "ffmpeg")[0])
    assert reader.report.warnings == ["the GPU cannot decode this h264 video; the CPU did"]


def test_unknown_decoder_is_an_error_that_lists_the_known_ones(clips: Clips) -> None:
    with pytest.raises(ValueError, match="ffmpeg, decord"):
        build_reader(probe(clips.steady), "gstreamer")


def test_damaged_frames_are_counted(clips: Clips) -> None:
    _, reader = read(clips.damaged, "ffmpeg")
    assert reader.report.damaged > 0
    assert any("damaged" in warning for warning in reader.report.warnings)


def test_packets_of_streams_that_appear_later_are_left_out(clips: Clips) -> None:
    """In a damaged FLV file; PyAV raises IndexError for each of them."""
    media = probe(clips.steady)
    assert media.video is not None
    packets = [SimpleNamespace(size=1, dts=number) if number % 3 else None for number in range(90)]
    waiting = iter(packets)

    def demux(_: object) -> Iterator[object]:
        for packet in waiting:
            if packet is None:
                raise IndexError("list index out of range")
            yield packet

    container: Any = SimpleNamespace(demux=demux, format=SimpleNamespace(name="flv"))
    report = DecodeReport("ffmpeg")
    found = list(StreamPackets(media, media.video, report, 60.0)._packets(container, []))
    assert found == [packet for packet in packets if packet is not None]
    assert not report.stopped


def test_changing_frame_size_keeps_time_and_first_size(clips: Clips) -> None:
    frames, reader = read(clips.growing, "ffmpeg")
    assert frames.shape[1:] == (48, 64, 3)
    assert len(frames) == pytest.approx(8 * reader.report.end, abs=1)


def test_auto_falls_back_to_decord_with_a_warning(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    media = probe(clips.steady)

    def fail(self: FrameReader) -> None:
        raise MediaError(self.media.path, "no frames could be decoded")

    monkeypatch.setattr(ffmpeg_reader.FFmpegReader, "__iter__", fail)
    reader = build_reader(media, "auto")
    assert len(np.concatenate(list(reader))) == 24
    assert reader.report.decoder == "decord"
    assert any("decord did" in warning for warning in reader.report.warnings)


def test_auto_reports_the_error_of_ffmpeg_if_both_fail(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FrameReader) -> None:
        raise MediaError(self.media.path, f"{self.name} fails")

    monkeypatch.setattr(ffmpeg_reader.FFmpegReader, "__iter__", fail)
    monkeypatch.setattr(decord_reader.DecordReader, "__iter__", fail)
    with pytest.raises(MediaError, match="ffmpeg fails"):
        list(build_reader(probe(clips.steady), "auto"))


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(60)", "print('P6', flush=True); import time; time.sleep(60)"]
)
def test_hanging_decoder_is_killed(clips: Clips, code: str) -> None:
    with (
        DecoderProcess(clips.steady, lambda _: [sys.executable, "-c", code], timeout=1.0) as process,
        pytest.raises(DecodeTimeoutError, match="no progress for 1 s"),
    ):
        while process.read_line():
            pass
    assert process._process.poll() is not None


def test_crash_of_decord_is_an_error(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = [sys.executable, "-c", "import os; os.abort()"]

    def start(path: Path, _command: object, **options: Any) -> DecoderProcess:
        return DecoderProcess(path, lambda _: crash, **options)

    media = probe(clips.steady)
    monkeypatch.setattr(decord_reader, "DecoderProcess", start)
    with pytest.raises(MediaError, match="decord was killed by signal 6"):
        list(build_reader(media, "decord"))


def test_jpeg_frames_are_counted_and_read_by_index(clips: Clips) -> None:
    with contextlib.closing(JpegFrames(probe(clips.steady))) as jpegs:
        assert len(jpegs) >= 24
        frames = jpegs.read([0, len(jpegs) - 1])
    assert frames.shape == (2, 48, 64, 3)
    assert read_number(frames[0]) == 0
    assert read_number(frames[1]) >= 68


def test_jpeg_frames_on_a_full_disk(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115 - closed by the frames
    opened = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda prefix: full if "frames" in prefix else opened(prefix=prefix))
    with pytest.raises(MediaError, match="No space left"):
        JpegFrames(probe(clips.steady))


def test_no_file_of_the_working_directory_is_imported(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = probe(clips.steady)
    for name in ("decord", "json", "numpy", "avvp"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    assert len(np.concatenate(list(build_reader(media, "decord")))) == 24
    assert not (tmp_path / "owned").exists()


def test_more_descriptors_than_select_accepts(clips: Clips) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert len(np.concatenate(list(build_reader(probe(clips.steady), "ffmpeg")))) == 24
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
