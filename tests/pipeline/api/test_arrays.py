"""Arrays are decoded as the file that holds them: frames, channels, rates, lengths, errors."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import avvp
import numpy as np
import pytest
import torch
from avvp.pipeline.api.arrays import written
from avvp.pipeline.segments import sample_times, shown_frames
from numpy.typing import NDArray
from support.media import HEIGHT, WIDTH, Clips, numbered_frames

FRAMES = np.frombuffer(numbered_frames(72), np.uint8).reshape(72, HEIGHT, WIDTH, 3)  # 3 s at 24 a second


def tone(rate: int, seconds: float = 3.0, channels: int | None = None) -> NDArray[np.float32]:
    """440 Hz, in channel k at (k + 1) / 20 of full scale."""
    wave = np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
    if channels is None:
        return (0.05 * wave).astype(np.float32)
    return (wave[:, None] * np.arange(1, channels + 1) / 20).astype(np.float32)


def seconds_of(media: avvp.MediaArrays) -> list[avvp.Second]:
    with written(media) as path, avvp.open_media(path) as opened:
        return list(opened)


def lossless(clips: Clips, name: str, channels: int) -> tuple[Path, avvp.MediaArrays]:
    """A file that loses nothing, and what another library reads from it."""
    sound = ("-f", "lavfi", "-i", f"sine=f=440:r=44100:d=3,aformat=channel_layouts={channels}c")
    options = ("-c:v", "ffv1", "-pix_fmt", "bgr0", "-c:a", "pcm_f32le")
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", 24, "-i", "-")
    path = clips.make(name, *source, *sound, *options, feed=FRAMES.tobytes())
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        blocks = [block.to_ndarray().reshape(-1, channels) for block in container.decode(audio=0)]
    return path, avvp.MediaArrays(frames, 24, np.concatenate(blocks), 44_100)


@pytest.fixture(scope="module", params=["clean", "llp"])
def parser(request: pytest.FixtureRequest, tiny_bundle: Path, tiny_llp_bundle: Path) -> Iterator[avvp.Parser]:
    with avvp.load(tiny_bundle if request.param == "clean" else tiny_llp_bundle, device="cpu") as opened:
        yield opened


def test_arrays_give_what_the_lossless_file_gives(parser: avvp.Parser, clips: Clips) -> None:
    """Equal, but for the way from RGB to the JPEG frames of profile llp, which depends on the order of the bytes."""
    path, arrays = lossless(clips, "lossless.mkv", 2)
    assert isinstance(arrays.frames, np.ndarray)
    np.testing.assert_array_equal(arrays.frames, FRAMES)
    of_file, of_arrays = parser.extract(path), parser.extract(arrays)
    assert (of_arrays.duration, of_arrays.warnings) == (of_file.duration, of_file.warnings)
    np.testing.assert_array_equal(of_arrays.audio, of_file.audio)
    tolerance = 0.0 if parser.spec.profile == "clean" else 1e-4
    for name in ("visual_2d", "visual_3d"):
        ours, theirs = getattr(of_arrays, name), getattr(of_file, name)
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max(), name
    assert parser.parse(arrays, thresholds=0.0).events
    facts = parser.parse(arrays).media
    assert (facts["path"], facts["format"], facts["video_codec"]) == ("arrays", "arrays", "array")
    assert facts["frames_decoded"] == 72
    assert not parser.parse(arrays).media_is_known


@pytest.mark.parametrize(
    ("height", "width", "rate"),
    [(48, 64, 24), (33, 63, 30), (5, 3, Fraction(30_000, 1001)), (4, 6, 16), (1, 1, 8), (4, 6, 1000), (6, 4, 0.5)],
)
def test_frames_are_those_shown_at_the_middle_of_eighths(height: int, width: int, rate: float | Fraction) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (max(3, round(2 * rate)), height, width, 3), np.uint8)
    got = np.concatenate(
        [second.frames for second in seconds_of(avvp.MediaArrays(frames, rate)) if second.frames is not None]
    )
    expected = shown_frames(np.arange(len(frames)) / float(rate), sample_times(len(got), 8))
    np.testing.assert_array_equal(got, frames[expected])
    assert len(got) == 8 * max(1, round(len(frames) / rate))


@pytest.mark.parametrize("kind", ["int16", "float32", "float64"])
def test_audio_keeps_its_scale_in_every_type(kind: str) -> None:
    wave = tone(16_000)
    samples = np.round(wave * 32_768).astype(np.int16) if kind == "int16" else wave.astype(kind)
    heard = np.concatenate(
        [
            second.audio
            for second in seconds_of(avvp.MediaArrays(audio=samples, sample_rate=16_000))
            if second.audio is not None
        ]
    )
    np.testing.assert_allclose(heard, wave, atol=2e-5 if kind == "int16" else 1e-7)


@pytest.mark.parametrize(("channels", "factor"), [(1, 1.0), (2, 1.5)])
def test_channels_are_averaged(channels: int, factor: float) -> None:
    heard = seconds_of(avvp.MediaArrays(audio=tone(16_000, channels=channels), sample_rate=16_000))[0].audio
    assert heard is not None
    np.testing.assert_allclose(heard, factor * tone(16_000, 1.0), atol=1e-6)


def test_many_channels_are_mixed_as_those_of_a_file(clips: Clips, tmp_path: Path) -> None:
    samples = tone(16_000, channels=6)
    (tmp_path / "six.raw").write_bytes(samples.tobytes())
    file = clips.make(
        "six.wav", "-f", "f32le", "-ar", 16_000, "-ac", 6, "-i", tmp_path / "six.raw", "-c:a", "pcm_f32le"
    )
    with avvp.open_media(file) as opened:
        expected = [second.audio for second in opened]
    heard = [second.audio for second in seconds_of(avvp.MediaArrays(audio=samples, sample_rate=16_000))]
    np.testing.assert_array_equal(np.concatenate(heard), np.concatenate(expected))  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize("rate", [8_000, 44_100, 96_001])
def test_audio_is_resampled(rate: int) -> None:
    heard = seconds_of(avvp.MediaArrays(audio=tone(rate), sample_rate=rate))[1].audio
    assert heard is not None
    np.testing.assert_allclose(heard, tone(16_000)[16_000:32_000], atol=2e-4)


def test_tensors_and_views_are_read_as_arrays() -> None:
    turned = FRAMES[::-1, :, ::-1]  # a view that is not contiguous
    media = avvp.MediaArrays(torch.from_numpy(turned.copy()), 24, torch.from_numpy(tone(16_000)), 16_000)
    of_tensors, of_arrays = seconds_of(media), seconds_of(avvp.MediaArrays(turned, 24, tone(16_000), 16_000))
    for ours, theirs in zip(of_tensors, of_arrays, strict=True):
        np.testing.assert_array_equal(ours.frames, theirs.frames)  # pyright: ignore[reportArgumentType]
        np.testing.assert_array_equal(ours.audio, theirs.audio)  # pyright: ignore[reportArgumentType]


VIDEO: dict[str, Any] = {"frames": FRAMES, "frame_rate": 24}
SOUND: dict[str, Any] = {"audio": tone(16_000), "sample_rate": 16_000}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "neither frames nor audio"),
        (VIDEO | {"frame_rate": None}, "frame_rate is None"),
        (VIDEO | {"frame_rate": 0}, "frame_rate is 0"),
        (VIDEO | {"frame_rate": float("nan")}, "frame_rate is nan"),
        (VIDEO | {"frame_rate": 1_001}, "frames per second up to 1,000"),
        (VIDEO | {"frames": FRAMES[..., 0]}, r"expected uint8 \(F, H, W, 3\)"),
        (VIDEO | {"frames": FRAMES.astype(np.float32)}, "frames are float32"),
        (VIDEO | {"frames": FRAMES[:0]}, r"\(0, 48, 64, 3\)"),
        (VIDEO | {"frames": np.broadcast_to(FRAMES[:1, :1, :1], (1, 8_000, 8_000, 3))}, "too large"),
        (VIDEO | {"frame_rate": 1e-4}, "more than 24 hours"),
        (SOUND | {"sample_rate": None}, "sample_rate is None"),
        (SOUND | {"sample_rate": 44_100.5}, "a whole number of Hz"),
        (SOUND | {"sample_rate": 1_000_000}, "Hz up to 768,000"),
        (SOUND | {"audio": tone(16_000).astype(np.int32)}, "audio is int32"),
        (SOUND | {"audio": tone(16_000, channels=9)}, "more than 8 channels"),
        (SOUND | {"audio": tone(16_000)[None, None]}, r"\(samples,\) or \(samples, channels\)"),
    ],
)
def test_what_is_no_media_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        avvp.MediaArrays(**changes)


def test_a_full_disk_is_an_output_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        "avvp.pipeline.api.arrays._write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with (
        pytest.raises(avvp.OutputError, match=r"cannot be kept in .*: No space left"),
        written(avvp.MediaArrays(**SOUND)),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_the_temporary_file_is_removed_and_arrays_show_their_shapes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    media = avvp.MediaArrays(**VIDEO, **SOUND, name="cam\x1b")
    with written(media):
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    assert repr(media) == "MediaArrays of cam\\x1b: frames (72, 48, 64, 3) at 24 per second, audio (48000,) at 16000 Hz"
