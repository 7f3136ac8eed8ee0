"""Maps of profile ave: one file at a time, against the published ones, and the cases of lost media."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors import Extractor, build_extractor
from avvp.extractors.fused import fuse
from avvp.extractors.registry import extractor_shapes
from avvp.pipeline import extract_features
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.features.batch_memory import check_batch_memory
from avvp.weights.untrained import untrained_state
from support.golden import MEDIA, fill, load_npz, needs_golden
from support.media import Clips, ffmpeg


@pytest.fixture(scope="module")
def tiny() -> Mapping[str, Extractor]:
    names = ("vggish_tiny", "vgg19_tiny")
    return {name: build_extractor(name, untrained_state(extractor_shapes(name), 7)) for name in names}


def published_error(start: int, stop: int) -> float:
    """Relative to the spread of the published maps of all seconds."""
    full = fuse(build_extractor("vgg19", fill(extractor_shapes("vgg19"))))
    extractors = {"vggish_tiny": build_extractor("vggish_tiny"), "vgg19": full}
    part = DecodeOptions(start=start, end=stop)
    features = extract_features(MEDIA / "BjCEufrlXm4.mp4", extractors, profile="ave", decoding=part, batch_size=1)
    assert features.visual_map is not None
    assert features.visual_map.shape == (stop - start, 25_088)
    golden = load_npz("ave_features_BjCEufrlXm4.npz")["visual"]
    spread = np.linalg.norm(golden - golden.mean(axis=0))
    return float(np.linalg.norm(features.visual_map.reshape(-1, 7, 7, 512) - golden[start:stop]) / spread)


@needs_golden
@pytest.mark.full_size
@pytest.mark.parametrize(("start", "stop"), [(0, 2), (9, 10)])
def test_published_maps_golden(start: int, stop: int) -> None:
    """The published path at full size, from the mp4 to maps: three of its ten seconds, 1.9 TFLOP."""
    assert published_error(start, stop) < 1e-5


@pytest.mark.parametrize("profile", ["ave", "ave-4"])
def test_a_row_is_the_mean_over_the_pictures_of_its_second(
    clips: Clips, tiny: Mapping[str, Extractor], profile: str
) -> None:
    features = extract_features(clips.steady, tiny, profile=profile)
    assert list(features.arrays()) == ["audio", "visual_map"]
    assert (features.spec.frames_per_segment, features.spec.rates) == (16 if profile == "ave" else 4, (1, 1))
    assert not len(features.visual_2d)
    network = tiny["vgg19_tiny"]
    with open_media(clips.steady, profile) as media, torch.inference_mode():
        for second in media:
            assert second.frames is not None
            expected = network(network.preprocess(second.frames)).mean(dim=0)
            np.testing.assert_allclose(features.visual_map[second.index], expected, rtol=1e-4, atol=1e-6)


def test_pictures_that_repeat_are_computed_once(tmp_path: Path, tiny: Mapping[str, Extractor]) -> None:
    path = tmp_path / "still.mp4"
    picture = ("-f", "lavfi", "-i", "color=red:s=64x48:r=25:d=9")
    ffmpeg(*picture, "-c:v", "libx264", "-qp", 20, path)
    computed: list[int] = []

    class Counting:
        def __init__(self, real: Extractor) -> None:
            self.stream, self.dim, self.input_format, self.prepare = (
                real.stream,
                real.dim,
                real.input_format,
                real.prepare,
            )
            self.real, self.parameters = real, real.parameters

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            computed.append(len(x))
            return self.real(x)

    extractors: Any = {**tiny, "vgg19_tiny": Counting(tiny["vgg19_tiny"])}
    features = extract_features(path, extractors, profile="ave")
    assert sum(computed) <= 2  # the encoder may alter the first picture once
    assert len(features.visual_map) == 9
    np.testing.assert_array_equal(features.visual_map[1:], features.visual_map[1:2].repeat(8, axis=0))


def test_missing_streams_are_silence_and_black(clips: Clips, tiny: Mapping[str, Extractor]) -> None:
    blind, silent = (extract_features(path, tiny, profile="ave-4") for path in (clips.blind, clips.silent))
    network = tiny["vgg19_tiny"]
    black = network(network.preprocess(np.zeros((1, 9, 9, 3), np.uint8)))
    np.testing.assert_allclose(blind.visual_map, black.expand(len(blind.audio), -1), rtol=1e-5)
    assert blind.media is not None
    assert not blind.media.has_video
    assert silent.media is not None
    assert not silent.media.has_audio
    np.testing.assert_array_equal(silent.audio, silent.audio[:1].repeat(len(silent.audio), axis=0))


def test_video_that_ends_early_keeps_its_last_picture(tmp_path: Path, tiny: Mapping[str, Extractor]) -> None:
    path = tmp_path / "early.mkv"
    sources = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", "-f", "lavfi", "-i", "sine=r=16000:d=6")
    ffmpeg(*sources, "-c:v", "libx264", "-c:a", "pcm_s16le", path)
    features = extract_features(path, tiny, profile="ave")
    assert len(features.visual_map) == len(features.audio) == 6
    with open_media(path, "ave") as media:
        last = [second.frames for second in media][1]
    assert last is not None
    network = tiny["vgg19_tiny"]
    expected = network(network.preprocess(last[-1:]))
    np.testing.assert_allclose(features.visual_map[2:], expected.expand(4, -1), rtol=1e-4, atol=1e-6)
    assert any("no video after 2.0" in warning for warning in features.warnings)


def test_extractors_of_another_profile_are_named(clips: Clips, tiny: Mapping[str, Extractor]) -> None:
    with pytest.raises(ValueError, match="profile llp needs one extractor for each of audio, visual_2d, visual_3d"):
        extract_features(clips.blink, tiny, profile="llp")


def test_memory_of_a_batch_is_that_of_the_largest_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    from avvp.pipeline.errors import SetupError
    from avvp.pipeline.features import batch_memory

    network = fuse(build_extractor("vgg19_tiny"))
    monkeypatch.setattr(batch_memory, "available_memory", lambda: 30 << 20)
    check_batch_memory({"visual_map": network}, {"visual_map": 4})
    with pytest.raises(SetupError, match="use a smaller --batch-size"):
        check_batch_memory({"visual_map": network}, {"visual_map": 64})
