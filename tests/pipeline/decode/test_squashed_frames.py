"""Frames of profile ave: those that the published program takes of what ffmpeg delivers."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.extractors.profiles import get_profile
from avvp.extractors.resize import opencv_resize
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.errors import MediaError
from avvp.pipeline.preprocess.base import is_groups
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from support.clock_media import frames, numbered, read_numbers, tones
from support.golden import MEDIA, load_npz, needs_golden
from support.media import Clips, ffmpeg


def pictures(path: Path, profile: str = "ave", **options: Any) -> list[np.ndarray]:
    """The pictures of each second."""
    seconds = list(MediaSeconds(path, get_profile(profile), DecodeOptions(**options)))
    return [second.frames for second in seconds if second.frames is not None]


def delivered(path: Path, size: tuple[int, int]) -> np.ndarray:
    """All frames of a file, (n, H, W, 3), by the command that the published program's reader runs."""
    command = [ffmpeg_binary(), "-v", "error", "-i", path, "-pix_fmt", "rgb24", "-vcodec", "rawvideo"]
    done = subprocess.run([*command, "-f", "image2pipe", "-"], capture_output=True, check=True)
    width, height = size
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def published_numbers(count: int, seconds: int, size: int) -> list[int]:
    """The rule as the published program writes it, for so many seconds."""
    step = int(count / seconds)
    return [int(t * step + (i / float(size)) * step) for t in range(seconds) for i in range(size)]


@pytest.mark.parametrize("size", [16, 4])
@pytest.mark.parametrize(("name", "shape", "seconds"), [
    ("steady", (64, 48), 3), ("rotated", (48, 64), 3), ("variable", (64, 48), 4), ("late_video", (64, 48), None),
    ("odd", (101, 67), 1), ("blink", (64, 48), 1),
])  # fmt: skip
def test_pictures_are_those_of_the_published_program(
    clips: Clips, name: str, shape: tuple[int, int], seconds: int | None, size: int
) -> None:
    path = getattr(clips, name)
    found = pictures(path, "ave" if size == 16 else "ave-4")
    all_frames = delivered(path, shape)
    numbers = published_numbers(len(all_frames), len(found), size)
    assert len(found) == (seconds or len(found))
    np.testing.assert_array_equal(np.concatenate(found), opencv_resize(all_frames[numbers], 224, 224))


@needs_golden
def test_pictures_of_a_real_clip_are_the_published_ones() -> None:
    golden = load_npz("ave_features_BjCEufrlXm4.npz")
    assert published_numbers(int(golden["frames"]), 10, 16) == golden["picked"].tolist()
    found = np.concatenate(pictures(MEDIA / "BjCEufrlXm4.mp4"))
    assert hashlib.sha256(found.tobytes()).hexdigest() == str(golden["pictures_sha256"])


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23.4 s at 25 frames a second, all different."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    video = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-qp", 20, "-g", 50)
    ffmpeg(*frames(), *tones(0, 23.4), *video, "-c:a", "aac", path, feed=numbered(0, 585))
    return path


def test_longer_files_are_divided_into_windows_of_ten_seconds(long_clip: Path) -> None:
    numbers = [read_numbers(second).tolist() for second in pictures(long_clip)]
    assert len(numbers) == 23
    for second in range(20):  # 250 frames in each window
        assert numbers[second] == [25 * second + int(i / 16 * 25) for i in range(16)]
    # 85 frames are left for three seconds: steps of 28.
    assert numbers[20:] == [[500 + int(t * 28 + i / 16 * 28) for i in range(16)] for t in range(3)]


@pytest.mark.parametrize(("start", "end"), [(0, 3), (7, 12), (21, 23), (9, None)])
def test_a_part_has_the_pictures_of_the_whole_file(long_clip: Path, start: int, end: int | None) -> None:
    found, expected = pictures(long_clip, start=float(start), end=end), pictures(long_clip)[start:end]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))


def test_decoding_ends_with_the_part(long_clip: Path) -> None:
    decoded = MediaSeconds(long_clip, get_profile("ave"), DecodeOptions(start=1, end=3))
    list(decoded)
    assert decoded.facts.frames_decoded < 100
    assert decoded.warnings == ("only 0:01 to 0:03 was parsed",)


def test_clip_of_a_little_more_than_ten_seconds_is_one_window(tmp_path: Path) -> None:
    """10.4 s: the published step is that of all 260 frames."""
    path = tmp_path / "clip.mp4"
    ffmpeg(*frames(), "-c:v", "libx264", "-qp", 20, path, feed=numbered(0, 260))
    assert [read_numbers(second)[0] for second in pictures(path)] == [26 * second for second in range(10)]


def test_fewer_frames_than_seconds_are_spread(tmp_path: Path) -> None:
    path = tmp_path / "slow.mkv"
    ffmpeg(*frames(rate=1), "-r", "0.5", "-c:v", "libx264", "-qp", 20, path, feed=numbered(0, 10))
    found = [read_numbers(second).tolist() for second in pictures(path)]
    assert len(found) == 14
    assert [numbers[0] for numbers in found[:8]] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_frames_that_stay_are_built_once(clips: Clips) -> None:
    """A still picture is one input and one group, however long it stays."""
    inputs: list[np.ndarray] = []
    groups: list[np.ndarray] = []
    reader = NetworkInputs(clips.still, _formats(), profile="ave")
    for stream, array in reader:
        if stream == "visual_map":
            (groups if is_groups(array) else inputs).append(array)
    assert (np.concatenate(inputs).shape, np.concatenate(groups).tolist()) == ((1, 224, 224, 3), [[0] * 16])
    assert reader.summary.rows["visual_map"] == [0]


def test_no_video_is_one_black_picture(clips: Clips) -> None:
    reader = NetworkInputs(clips.blind, _formats(), profile="ave-4")
    given = [array for stream, array in reader if stream == "visual_map"]
    assert [array.shape for array in given] == [(1, 224, 224, 3), (1, 4)]
    assert not given[0].any()
    assert reader.summary.rows["visual_map"] == [0] * len(reader.summary.rows["audio"])


def test_decord_is_refused() -> None:
    with pytest.raises(ValueError, match="profile 'ave' uses ffmpeg's constant frame rate, which decord cannot make"):
        NetworkInputs(Path("x.mp4"), _formats(), profile="ave", options=DecodeOptions(decoder="decord"))


def test_file_without_a_frame_is_an_error(tmp_path: Path, clips: Clips) -> None:
    content = clips.steady.read_bytes()
    path = tmp_path / "empty.mp4"
    place = content.find(b"mdat") + 4
    path.write_bytes(content[:place] + bytes(len(content[place:])))
    with pytest.raises(MediaError):
        list(NetworkInputs(path, _formats(), profile="ave"))


def _formats() -> list[Any]:
    from avvp.extractors.inputs import LOG_MEL, MAP_PICTURE

    return [LOG_MEL, MAP_PICTURE]
