"""Audio: the published track bit for bit, both resamplers against resampy, streams against whole signals."""

from __future__ import annotations

import subprocess
import sys
import wave
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import pytest
import resampy
from avvp.pipeline.decode import resampling
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.resampling import (
    RESAMPLERS,
    get_resampler,
    published_track,
    resamplable,
    resample_polyphase,
    resample_resampy,
    resample_seconds,
    resample_torchaudio,
)
from avvp.pipeline.errors import MediaError
from support.golden import GOLDEN, MEDIA, needs_golden, needs_media
from support.media import Clips

RNG = np.random.default_rng(5)


def feed(samples: np.ndarray):
    """A `read` function over an array of samples."""
    position = 0

    def read(count: int) -> np.ndarray:
        nonlocal position
        block = samples[position : position + count]
        position += len(block)
        return block

    return read


def track(samples: np.ndarray, duration: float | None) -> np.ndarray:
    return np.concatenate(list(published_track(feed(samples), duration)))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampler_equals_kaiser_best_of_resampy_0_3(rate: int) -> None:
    """White noise against the filter that `kaiser_best` was when VGGish was defined (resampy before 0.4)."""
    settings: Any = {"num_zeros": 64, "precision": 12, "rolloff": 0.9475937167399596}
    waveform = RNG.standard_normal(2 * rate)
    settings["window"] = partial(np.kaiser, beta=14.769656459379492)
    reference = resampy.resample(waveform, rate, 16_000, filter="sinc_window", **settings)
    assert relative_error(resample_polyphase(waveform, rate), reference) < 5e-3


@pytest.mark.parametrize("rate", [7_350, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_numpy_and_torchaudio_apply_the_same_filter(rate: int) -> None:
    """To the single precision in which torchaudio computes its window."""
    waveform = RNG.standard_normal(rate + 123)
    np.testing.assert_allclose(resample_polyphase(waveform, rate), resample_torchaudio(waveform, rate), atol=1e-6)


TORCHAUDIO_RATES = [7_350, 8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000]


def torchaudio_works() -> bool:
    try:
        import torchaudio  # noqa: F401
    except Exception:
        return False
    return True


@pytest.mark.skipif(not torchaudio_works(), reason="torchaudio does not import beside this torch")
@pytest.mark.parametrize("rate", TORCHAUDIO_RATES)
def test_the_same_filter_without_torchaudio(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal to the last bits, so that results do not depend on whether torchaudio imports."""
    waveform = RNG.standard_normal(2 * rate + 123)
    with_torchaudio = resample_torchaudio(waveform, rate)
    assert "torchaudio" in type(resampling._torchaudio_filter(rate)).__module__
    without_torchaudio(monkeypatch)
    without = resample_torchaudio(waveform, rate)
    assert without.shape == with_torchaudio.shape
    np.testing.assert_allclose(without, with_torchaudio, rtol=0, atol=5e-15)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, AttributeError])
def test_torchaudio_of_another_torch_is_replaced(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises OSError for another ABI, and RuntimeError for another CUDA version."""
    waveform = RNG.standard_normal(2 * 44_100)
    without_torchaudio(monkeypatch, error)
    resampled = get_resampler("torchaudio")(waveform, 44_100)
    np.testing.assert_allclose(resampled, resample_polyphase(waveform, 44_100), atol=1e-6)


def without_torchaudio(monkeypatch: pytest.MonkeyPatch, error: type[Exception] = RuntimeError) -> None:
    """Let `import torchaudio` raise this error."""

    class Refusing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torchaudio":
                raise error("built for another torch")

    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    monkeypatch.setattr(resampling, "_torchaudio_filter", cache(resampling._torchaudio_filter.__wrapped__))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resamplers_differ_only_at_the_edge_of_the_band(rate: int) -> None:
    """resampy 0.4 made `kaiser_best` slightly narrower: the same for audio whose spectrum falls off."""
    spectrum = np.fft.rfft(RNG.standard_normal(2 * rate))
    waveform = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1))
    assert relative_error(resample_polyphase(waveform, rate), resample_resampy(waveform, rate)) < 2e-3


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """Away from the edges, where both filters run out of signal."""
    assert len(ours) == 32_000
    ours, reference = ours[1000:-1000], reference[: len(ours)][1000:-1000]
    return float(np.linalg.norm(ours - reference) / np.linalg.norm(reference))


def test_filter_keeps_what_is_below_and_removes_what_is_above() -> None:
    time = np.arange(44_100) / 44_100
    low, high = (resample_polyphase(np.sin(2 * np.pi * hertz * time), 44_100) for hertz in (1000, 10_000))
    middle = slice(1000, -1000)
    np.testing.assert_allclose(low[middle], np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)[middle], atol=1e-3)
    assert np.abs(high[middle]).max() < 1e-3


@pytest.mark.parametrize("name", RESAMPLERS)
@pytest.mark.parametrize("rate", [8_000, 11_025, 32_000, 44_100, 48_000])
def test_resampling_a_stream_equals_resampling_it_whole(rate: int, name: str) -> None:
    waveform = RNG.standard_normal(4 * rate)
    resample = get_resampler(name)
    seconds = list(resample_seconds(iter(waveform.reshape(4, rate)), rate, resample))
    assert [second.shape for second in seconds] == [(16_000,)] * 4
    np.testing.assert_allclose(np.concatenate(seconds), resample(waveform, rate), atol=1e-9)


def test_published_track_picks_the_nearest_sample() -> None:
    samples = np.arange(120_000)[:, None] / 2**17  # every sample says which one it is
    expected = np.round(np.arange(16_000) * 2.75625)
    resampled = track(samples, 2.7)[:16_000, 0]
    np.testing.assert_array_equal(resampled, np.trunc(expected / 2**17 * 32768) / 32768)


def test_published_track_slips_by_one_sample_when_the_window_moves() -> None:
    samples = np.arange(441_000)[:, None] * (0.9 / 441_000)
    nearest = np.round(44_100 * (np.arange(150_000) * (1 / 16_000))).astype(int)
    late = np.round((samples[nearest, 0] - track(samples, 10.0)[:150_000, 0]) * 441_000 / 0.9)
    # 16-bit truncation hides single samples (0.07 steps each), so the slip is read off the averages.
    assert np.abs(late[:70_000].mean() - late[80_000:100_000].mean() + 1) < 0.2
    assert np.abs(late[:70_000].mean() - late[115_000:140_000].mean() + 2) < 0.2


def test_published_track_is_limited_and_truncated_to_16_bits() -> None:
    samples = np.full((120_000, 2), 1.0)
    samples[:, 1] = -0.4999999
    block = track(samples, 2.7)[0]
    assert block.tolist() == [int(0.99 * 32768) / 32768, -int(0.4999999 * 32768) / 32768]


def test_where_the_published_program_fails_the_nearest_samples_are_picked() -> None:
    samples = RNG.uniform(-0.9, 0.9, (50_000, 2))
    resampled = track(samples, 1.2)
    nearest = np.round(44_100 * (np.arange(len(resampled)) * (1 / 16_000))).astype(int)
    np.testing.assert_array_equal(resampled, np.trunc(samples[nearest] * 32768) / 32768)
    assert len(resampled) == pytest.approx(50_000 / 44_100 * 16_000, abs=1)


@pytest.mark.parametrize("duration", [None, 0.0, 0.01, 3.0, 9.9, 2000.0, 1e12])
def test_a_wrong_container_duration_changes_only_the_blocks(duration: float | None) -> None:
    """All of the audio is read, up to the end of the block that contains its end."""
    samples = RNG.uniform(-0.9, 0.9, (441_000, 1))
    resampled = track(samples, duration)
    assert 160_000 <= len(resampled) <= 162_000
    expected = track(samples, 10.0)[:60_000]  # before the window first moves, which depends on the blocks
    np.testing.assert_array_equal(resampled[:60_000], expected)


@needs_golden
@needs_media
def test_published_track_golden() -> None:
    with wave.open(str(GOLDEN / "BjCEufrlXm4.wav")) as file:
        expected = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768
    seconds = np.concatenate(list(AudioReader(probe(MEDIA / "BjCEufrlXm4.mp4"), "nearest")))
    np.testing.assert_array_equal(seconds[: len(expected)], expected.mean(1))
    assert not seconds[len(expected) :].any()


@pytest.mark.parametrize("rate", [11_025, 44_100, 48_000])
def test_resampy_reader_equals_resampy_of_the_whole_signal(clips: Clips, rate: int) -> None:
    """Two channels with different tones and a step, 3.5 s, read second by second."""
    path = clips.folder / f"stereo-{rate}.wav"
    time = np.arange(7 * rate // 2) / rate
    left = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.3 * (time > 1.0)  # the step lies on the border of two seconds
    samples = np.stack([left, 0.5 * np.sin(2 * np.pi * 3000 * time)], axis=1)
    stored = np.round(samples * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, rate, len(stored), "NONE", ""))
        file.writeframes(stored.tobytes())
    seconds = np.concatenate(list(AudioReader(probe(path), "filtered", resampler="resampy")))
    expected = resampy.resample(stored.mean(axis=1) / 32768, rate, 16_000, filter="kaiser_best")
    np.testing.assert_allclose(seconds[: len(expected)], expected, atol=1e-7)  # ffmpeg's samples are float32
    assert len(seconds) == 64_000


def test_resampy_is_imported_only_when_used(clips: Clips) -> None:
    program = (
        "import sys; from pathlib import Path; from avvp.pipeline.decode.audio import AudioReader;"
        "from avvp.pipeline.decode.probe import probe; media = probe(Path(sys.argv[1]));"
        "list(AudioReader(media, 'filtered')); assert not {'resampy', 'numba'} & sys.modules.keys();"
        "assert len(list(AudioReader(media, 'filtered', resampler='resampy'))) == 2; assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(clips.blind)], check=True)


def test_unknown_resampler_is_an_error_that_lists_the_known_ones(clips: Clips) -> None:
    with pytest.raises(ValueError, match="unknown resampler 'x'; known: polyphase, torchaudio, resampy"):
        AudioReader(probe(clips.blind), "filtered", resampler="x")


@pytest.mark.parametrize("resampling", ["nearest", "filtered"])
def test_reader_gives_whole_seconds(clips: Clips, resampling: Literal["nearest", "filtered"]) -> None:
    reader = AudioReader(probe(clips.blind), resampling)
    seconds = list(reader)
    assert [len(second) for second in seconds] == [16_000] * 2
    assert reader.report.end == pytest.approx(2.0, abs=0.01)
    spectrum = np.abs(np.fft.rfft(seconds[1]))
    assert spectrum.argmax() == 440


def test_audio_that_starts_late_keeps_its_position(clips: Clips) -> None:
    late = clips.make(
        "late-audio.mkv", "-f", "lavfi", "-i", "color=s=64x48:r=8:d=3", "-itsoffset", 1, "-f", "lavfi",
        "-i", "sine=f=440:r=16000:d=2", "-c:a", "pcm_s16le", "-c:v", "ffv1",
    )  # fmt: skip
    seconds = list(AudioReader(probe(late), "filtered"))
    levels = [float(np.abs(second).mean()) for second in seconds[:3]]
    assert levels[0] < 1e-3
    assert min(levels[1:]) > 0.05


@pytest.mark.parametrize("rate", [7_919, 22_255, 96_001])
def test_odd_sample_rates(clips: Clips, rate: int) -> None:
    """Prime rates would need a filter of gigabytes; they are decoded to 48 kHz first."""
    path = clips.make(f"odd-{rate}.wav", "-f", "lavfi", "-i", f"sine=f=440:r={rate}:d=2")
    assert resamplable(rate) == 48_000
    _, second = AudioReader(probe(path), "filtered")
    assert np.abs(np.fft.rfft(second)).argmax() == 440


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_usual_sample_rates_are_decoded_as_they_are(rate: int) -> None:
    assert resamplable(rate) == rate


def test_missing_audio_is_an_error(clips: Clips) -> None:
    with pytest.raises(MediaError, match="no audio stream"):
        AudioReader(probe(clips.silent), "filtered")
