"""Extraction of the features of one file: published values, lengths, missing streams, resamplers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors import Extractor, build_extractor
from avvp.extractors.inputs import FRAME, FRAME_CLIP, LOG_MEL
from avvp.extractors.registry import extractor_shapes
from avvp.pipeline import extract_features
from avvp.pipeline.decode.container.report import check_length
from avvp.pipeline.decode.ffmpeg_reader import FFmpegReader
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import DecodeTimeoutError, MediaError
from avvp.pipeline.features.extract import FeatureSet
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from avvp.weights.untrained import untrained_state
from support.golden import MEDIA, fill, load_npz, needs_golden, needs_media
from support.media import Clips


@pytest.fixture(scope="module")
def tiny() -> Mapping[str, Extractor]:
    names = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
    return {name: build_extractor(name, untrained_state(extractor_shapes(name), 7)) for name in names}


@needs_golden
@needs_media
@pytest.mark.full_size
def test_published_features_golden() -> None:
    """The whole published path at full size, from the mp4 to the three feature files."""
    names = ("vggish", "resnet152", "r2plus1d_18")
    extractors = {name: build_extractor(name, fill(extractor_shapes(name))) for name in names}
    features = extract_features(MEDIA / "BjCEufrlXm4.mp4", extractors, profile="llp")
    golden = load_npz("features_BjCEufrlXm4.npz")
    ours = {"vggish": features.audio, "res152": features.visual_2d[::8], "r2plus1d_18": features.visual_3d}
    for name, rows in ours.items():
        expected = golden[name]
        error = np.linalg.norm(rows - expected) / np.linalg.norm(expected - expected.mean(0))
        assert error < 1e-5, name
    assert features.segments == 10
    assert features.warnings == ()


@needs_golden
@needs_media
def test_published_inputs_golden() -> None:
    """Inputs of the networks equal the published ones, up to float rounding."""
    golden = load_npz("features_BjCEufrlXm4.npz")
    inputs: dict[str, list] = {"frames": [], "clips": [], "audio": []}

    class Spy:
        def __init__(self, name: str, key: str) -> None:
            self.real, self.key = build_extractor(name), key
            self.stream, self.dim, self.input_format = self.real.stream, self.real.dim, self.real.input_format

        def prepare(self, reduced: torch.Tensor) -> torch.Tensor:
            x = self.real.prepare(reduced)
            inputs[self.key].append(x)
            return x

        def __call__(self, x):
            return self.real(x)

    spies: Any = {
        "a": Spy("vggish_tiny", "audio"), "b": Spy("resnet_tiny", "frames"), "c": Spy("r2plus1d_tiny", "clips"),
    }  # fmt: skip
    extract_features(MEDIA / "BjCEufrlXm4.mp4", spies, profile="llp")
    frames, clips = (np.concatenate(inputs[key]) for key in ("frames", "clips"))
    np.testing.assert_allclose(frames[0], golden["input2d_frame0"], atol=1e-6)
    np.testing.assert_allclose(frames[-1], golden["input2d_frame79"], atol=1e-6)
    np.testing.assert_allclose(clips[0].swapaxes(0, 1), golden["input3d_clip0"], atol=1e-6)
    np.testing.assert_allclose(np.concatenate(inputs["audio"])[:10], golden["logmel"], atol=1e-6)


@pytest.mark.parametrize("profile", ["llp", "clean"])
class TestBothProfiles:
    def test_shapes_and_facts(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        features = extract_features(clips.steady, tiny, profile=profile)
        assert features.audio.shape == (3, 16)
        assert features.visual_2d.shape == (24, 64)
        assert features.visual_3d.shape == (3, 64)
        assert features.spec.profile == profile
        assert features.duration == pytest.approx(3.0, abs=0.1)
        assert features.media is not None
        assert (features.media.frames_decoded, features.media.decoder) == (72, "ffmpeg")
        assert features.warnings == ()

    def test_the_batch_size_changes_nothing(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        one, many = (extract_features(clips.steady, tiny, profile=profile, batch_size=size) for size in (1, 8))
        for name in ("audio", "visual_2d", "visual_3d"):
            np.testing.assert_allclose(getattr(one, name), getattr(many, name), atol=1e-5, rtol=1e-4)

    def test_without_audio(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        features = extract_features(clips.silent, tiny, profile=profile)
        assert any("no audio stream" in warning for warning in features.warnings)
        assert features.media is not None
        assert not features.media.has_audio
        assert features.audio.shape == (3, 16)
        assert (features.audio == features.audio[0]).all()

    def test_without_video(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        features = extract_features(clips.blind, tiny, profile=profile)
        assert any("no video stream" in warning for warning in features.warnings)
        assert features.media is not None
        assert not features.media.has_video
        assert features.visual_2d.shape == (16, 64)
        assert (features.visual_2d == features.visual_2d[0]).all()

    @pytest.mark.parametrize("name", ["blink", "still", "dot"])
    def test_very_short_files_have_one_segment(
        self, tiny: Mapping[str, Extractor], clips: Clips, profile: str, name: str
    ) -> None:
        assert extract_features(getattr(clips, name), tiny, profile=profile).segments == 1

    def test_truncated_file_has_a_warning(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        features = extract_features(clips.truncated, tiny, profile=profile)
        assert 1 <= features.segments < 6
        assert any("container states" in warning for warning in features.warnings)

    def test_several_streams_have_a_warning(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        features = extract_features(clips.two_streams, tiny, profile=profile)
        assert any("2 video streams; stream 1" in warning for warning in features.warnings)


@pytest.mark.parametrize("profile", ["llp", "clean"])
class TestUnevenStreams:
    """The longer stream determines T; the shorter one keeps its timing and is padded."""

    def test_video_ends_first(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        video = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=2")
        uneven = clips.make("video-2.mkv", *video, "-f", "lavfi", "-i", "sine=d=5", "-c:v", "ffv1")
        features = extract_features(uneven, tiny, profile=profile)
        assert features.segments == 5
        assert any("no video after 2.00 s" in warning for warning in features.warnings)
        video_only = clips.make("video-only.mkv", "-i", uneven, "-an", "-c", "copy")
        expected = extract_features(video_only, tiny, profile=profile)
        np.testing.assert_allclose(features.visual_3d[:2], expected.visual_3d, atol=1e-5)
        assert (features.visual_3d[2:] == features.visual_3d[1]).all()

    def test_audio_ends_first(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        video = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=6")
        uneven = clips.make("audio-3.mkv", *video, "-f", "lavfi", "-i", "sine=d=3", "-c:v", "ffv1")
        features = extract_features(uneven, tiny, profile=profile)
        assert features.segments == 6
        assert any("no audio after 3.0" in warning for warning in features.warnings)
        silence = extract_features(clips.silent, tiny, profile=profile).audio[0]
        np.testing.assert_allclose(features.audio[4:], np.tile(silence, (2, 1)), atol=1e-5)
        assert not np.allclose(features.audio[1], silence)

    def test_video_of_one_instant(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        video = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=50:d=0.04")
        path = clips.make("instant.mkv", *video, "-f", "lavfi", "-i", "sine=d=3", "-c:v", "ffv1")
        features = extract_features(path, tiny, profile=profile)
        assert (features.segments, features.media is not None and features.media.has_video) == (3, True)

    @pytest.mark.parametrize("decoder", ["auto", "decord"])
    def test_time_stamps_of_hours_are_an_error(
        self, tiny: Mapping[str, Extractor], clips: Clips, profile: str, decoder: str
    ) -> None:
        """25 hours exceed the limit of every video; 2 hours exceed the limit where the container states 3 s."""
        if profile == "llp" and decoder == "decord":
            return
        gap = "setpts='if(lt(N,8),N,N+8*90000)'"
        path = clips.numbered(f"gap-{profile}.mkv", 16, 8, "-vf", gap, "-fps_mode", "passthrough")
        with pytest.raises(MediaError, match=r"time stamps are damaged: they reach 25\.0 hours"):
            extract_features(path, tiny, profile=profile, decoding=DecodeOptions(decoder))
        with pytest.raises(MediaError, match=r"they reach 2\.0 hours, but the container states 3 s"):
            check_length(probe(clips.steady), 7200)

    def test_metadata_is_not_parsed_as_frames(self, tiny: Mapping[str, Extractor], clips: Clips, profile: str) -> None:
        lie = "[Parsed_showinfo_0 @ 0x0] [info] n: 1 pts_time:50000 duration_time:1"
        path = clips.make("forged.mp4", "-i", clips.steady, "-c", "copy", "-metadata", f"title={lie}\n{lie}")
        assert extract_features(path, tiny, profile=profile).segments == 3

    def test_one_second_of_frames_is_in_memory_at_a_time(
        self, tiny: Mapping[str, Extractor], clips: Clips, profile: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The inputs of a second are built before the next second is decoded, whatever the batch size."""
        order: list[str] = []
        input_format = tiny["r2plus1d_tiny"].input_format

        def reduce(media: np.ndarray) -> np.ndarray:
            order.append(f"reduce {len(media)}")
            return input_format.reduce(media)

        monkeypatch.setattr(type(tiny["r2plus1d_tiny"]), "input_format", replace(input_format, reduce=reduce))
        extract_features(clips.steady, tiny, profile=profile, batch_size=8)
        assert order == ["reduce 8"] * 3


def test_repeated_frame_is_computed_once(tiny: Mapping[str, Extractor], clips: Clips) -> None:
    slow = clips.numbered("slow.mkv", 4, 2)
    streams = [stream for stream, inputs in NetworkInputs(slow, [FRAME], profile="clean") for _ in inputs]
    assert streams == ["visual_2d"] * 4
    features = extract_features(slow, tiny, profile="clean")
    assert (features.visual_2d[:4] == features.visual_2d[0]).all()
    assert (features.visual_2d[12:] == features.visual_2d[15]).all()
    assert not np.array_equal(features.visual_2d[3], features.visual_2d[15])


def test_clean_and_llp_differ_by_a_little(tiny: Mapping[str, Extractor], clips: Clips) -> None:
    llp, clean = (extract_features(clips.steady, tiny, profile=profile) for profile in ("llp", "clean"))
    assert not np.array_equal(llp.visual_2d, clean.visual_2d)
    assert not np.array_equal(llp.audio, clean.audio)
    assert np.corrcoef(llp.audio.ravel(), clean.audio.ravel())[0, 1] > 0.9


def test_decord_is_refused_for_llp(tiny: Mapping[str, Extractor], clips: Clips) -> None:
    with pytest.raises(ValueError, match="which decord cannot make"):
        extract_features(clips.steady, tiny, profile="llp", decoding=DecodeOptions("decord"))
    assert extract_features(clips.steady, tiny, profile="clean", decoding=DecodeOptions("decord")).media is not None


def test_resampler_is_refused_for_llp_and_changes_only_audio_features(
    tiny: Mapping[str, Extractor], clips: Clips
) -> None:
    resampy = DecodeOptions(resampler="resampy")
    with pytest.raises(ValueError, match="profile 'llp' resamples without a filter"):
        extract_features(clips.resampled, tiny, profile="llp", decoding=resampy)
    default = extract_features(clips.resampled, tiny, profile="clean")
    other = extract_features(clips.resampled, tiny, profile="clean", decoding=resampy)
    assert (default.resampler, other.resampler) == ("polyphase", "resampy")
    assert not np.array_equal(other.audio, default.audio)
    np.testing.assert_allclose(other.audio, default.audio, rtol=0.05, atol=0.05)
    np.testing.assert_array_equal(other.visual_3d, default.visual_3d)


def test_stream_that_cannot_be_decoded_leaves_the_other(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(self: FFmpegReader) -> None:
        raise DecodeTimeoutError(self.media.path, "decoding made no progress for 1 s and was stopped")

    monkeypatch.setattr(FFmpegReader, "__iter__", hang)
    inputs = NetworkInputs(clips.steady, [LOG_MEL, FRAME], profile="clean", options=DecodeOptions("ffmpeg"))
    assert {stream for stream, _ in inputs} == {"audio", "visual_2d"}  # one black frame
    summary = inputs.summary
    assert summary.warnings == ("no visual events: decoding made no progress for 1 s and was stopped",)
    assert (summary.facts.has_audio, summary.facts.has_video) == (True, False)
    assert len(summary.rows["audio"]) == 3
    assert summary.rows["visual_2d"] == [0] * 24


def test_progress_is_reported_in_seconds(tiny: Mapping[str, Extractor], clips: Clips) -> None:
    reports: list[tuple] = []
    for _ in NetworkInputs(clips.steady, [LOG_MEL], profile="clean", progress=lambda *report: reports.append(report)):
        pass
    assert [report[:2] for report in reports] == [("video", second) for second in (1, 2, 3)]
    assert all(total == pytest.approx(3.0, abs=0.1) for _, _, total in reports)
    passed_on: list[tuple] = []
    extract_features(clips.long, tiny, profile="clean", progress=lambda *report: passed_on.append(report))
    *decoding, (stage, done, total) = passed_on
    assert decoding
    assert all(stage == "video" and 0 < done <= 60 == round(total) for stage, done, total in decoding)
    assert (stage, 0 <= done <= total) == ("features", True)


def test_undecodable_file_is_an_error(tiny: Mapping[str, Extractor], clips: Clips) -> None:
    with pytest.raises(MediaError):
        extract_features(clips.headless, tiny, profile="clean")


def test_feature_set_checks_shapes_types_and_values(tiny: Mapping[str, Extractor], clips: Clips) -> None:
    features = extract_features(clips.blink, tiny, profile="clean")
    for changes in (
        {"audio": features.audio[:0]},
        {"audio": np.vstack([features.audio] * 2)},
        {"visual_2d": features.visual_2d.astype(np.float64)},
        {"visual_3d": features.visual_3d * np.nan},
    ):
        with pytest.raises(ValueError, match=r"expected float32|NaN or infinity"):
            replace(features, **changes)
    assert isinstance(features, FeatureSet)


def test_still_media_is_built_once(clips: Clips) -> None:
    """A still image for two seconds with digital silence: one frame, one clip, one second of audio."""
    sources = ("-f", "lavfi", "-i", "color=red:s=64x48:r=25:d=2", "-f", "lavfi", "-i", "anullsrc=r=16000:d=2")
    path = clips.make("still-silent.mkv", *sources, "-t", 2, "-c:v", "ffv1", "-c:a", "pcm_s16le")
    inputs = NetworkInputs(path, [LOG_MEL, FRAME, FRAME_CLIP], profile="clean")
    assert [(stream, len(arrays)) for stream, arrays in inputs] == [("audio", 1), ("visual_2d", 1), ("visual_3d", 1)]
    assert inputs.summary.rows == {"audio": [0, 0], "visual_2d": [0] * 16, "visual_3d": [0, 0]}


def test_clip_with_a_changed_frame_is_built_again(clips: Clips) -> None:
    """Frames 0..3 in the first second, 3 for all of the next two: the second clip is new, the third is the second."""
    pace = "setpts='min(N,3)/4/TB',tpad=stop_mode=clone:stop_duration=2"
    path = clips.numbered("halting.mkv", 4, 4, "-vf", pace, "-r", 8)
    inputs = NetworkInputs(path, [FRAME, FRAME_CLIP], profile="clean")
    streams = [stream for stream, arrays in inputs for _ in arrays]
    frames, shown = streams.count("visual_2d"), inputs.summary.rows["visual_2d"]
    assert frames == 4
    assert shown[:8] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert set(shown[8:]) == {3}
    assert inputs.summary.rows["visual_3d"] == [0, 1, 1]
