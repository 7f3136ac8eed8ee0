"""Profiles that approximate `clean` with less work: fewer pictures, frames scaled while they are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import avvp
import numpy as np
import pytest
from avvp.extractors import Extractor, build_extractor
from avvp.extractors.inputs import FRAME, FRAME_CLIP, LOG_MEL
from avvp.extractors.profiles import FeatureSpec, get_profile
from avvp.extractors.registry import extractor_shapes
from avvp.extractors.sampling import Stream
from avvp.pipeline import extract_features
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.diagnosis.speed import count_multiply_adds
from avvp.pipeline.errors import MediaError, SetupError
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from avvp.weights.untrained import untrained_state
from numpy.typing import NDArray
from support.media import Clips

_SOUND = ("-f", "lavfi", "-i", "sine=f=440:r=16000:d=2")
_NATURAL = "mandelbrot=s={size}:r=25,trim=end=2"  # smooth and detailed areas
_CODED = ("-t", 2, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-qp", 12, "-c:a", "aac")


def make(clips: Clips, size: str, *options: object) -> Path:
    path = clips.folder / f"natural-{size}-{len(options)}.mkv"
    if not path.exists():
        clips.make(path.name, "-f", "lavfi", "-i", _NATURAL.format(size=size), *_SOUND, *_CODED, *options)
    return path


def read_inputs(path: Path, profile: str, **options: Any) -> tuple[dict[Stream, NDArray[Any]], NetworkInputs]:
    """Return the inputs of each row of each stream."""
    reader = NetworkInputs(path, [LOG_MEL, FRAME, FRAME_CLIP], profile=profile, options=DecodeOptions(**options))
    given: dict[Stream, list[NDArray[Any]]] = {}
    for stream, inputs in reader:
        given.setdefault(stream, []).append(inputs)
    return {stream: np.concatenate(parts)[reader.summary.rows[stream]] for stream, parts in given.items()}, reader


@pytest.fixture(scope="module")
def tiny() -> Mapping[str, Extractor]:
    names = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
    return {name: build_extractor(name, untrained_state(extractor_shapes(name), 7)) for name in names}


def test_pictures_are_from_the_middles_of_equal_parts() -> None:
    assert get_profile("clean").pictures == tuple(range(8))
    assert get_profile("fast").pictures == (2, 6)  # of the frames shown at 1/16, 3/16, ... of a second


def test_fast_takes_two_of_the_pictures_of_clean(clips: Clips) -> None:
    fast, reader = read_inputs(clips.steady, "fast")
    clean, _ = read_inputs(clips.steady, "clean")
    chosen = clean["visual_2d"].reshape(3, 8, 224, 224, 3)[:, [2, 6]].reshape(6, 224, 224, 3)
    np.testing.assert_array_equal(fast["visual_2d"], chosen)  # frames of this size are not scaled
    for stream in ("audio", "visual_3d"):
        np.testing.assert_array_equal(fast[stream], clean[stream])
    assert len(set(reader.summary.rows["visual_2d"])) == 6


def test_a_picture_that_stays_is_built_once(clips: Clips) -> None:
    slow = clips.numbered("slow-fast.mkv", 3, 1)  # a frame a second
    _, reader = read_inputs(slow, "fast", similar_pictures=0.0)
    assert reader.summary.rows["visual_2d"] == [0, 0, 1, 1, 2, 2]


def test_video_that_ends_early_is_padded_with_its_last_picture(clips: Clips) -> None:
    short = clips.numbered("short-fast.mkv", 12, 8)
    uneven = clips.make("uneven-fast.mkv", "-i", short, "-f", "lavfi", "-i", "sine=r=16000:d=4", "-c:v", "copy")
    inputs, reader = read_inputs(uneven, "fast", similar_pictures=0.0)
    assert reader.summary.rows["visual_2d"] == [0, 1, 2, 3, 3, 3, 3, 3]
    clean = read_inputs(uneven, "clean")[0]["visual_2d"].reshape(4, 8, 224, 224, 3)
    np.testing.assert_array_equal(inputs["visual_2d"], clean[:, [2, 6]].reshape(8, 224, 224, 3))


@pytest.mark.parametrize("name", ["blind", "still", "dot", "odd", "growing"])
def test_files_without_video_and_odd_ones(clips: Clips, tiny: Mapping[str, Extractor], name: str) -> None:
    features = extract_features(getattr(clips, name), tiny, profile="fast")
    assert features.visual_2d.shape == (2 * features.segments, 64)
    assert features.visual_3d.shape == (features.segments, 64)
    assert (features.spec.frames_per_segment, features.spec.rates) == (2, (1, 2, 1))


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ("640x360", (), (256, 455)),
        ("360x640", (), (455, 256)),
        ("640x360", ("-display_rotation", 90), (455, 256)),
        ("640x360", ("-vf", "setsar=9/16"), (256, 256)),
        ("256x300", (), (300, 256)),
        ("200x1000", (), (1000, 200)),
    ],
)
def test_large_frames_are_scaled_to_the_size_of_the_networks(
    clips: Clips, size: str, options: tuple[object, ...], expected: tuple[int, int]
) -> None:
    if options[:1] == ("-display_rotation",):
        path = clips.make(f"rotated-{size}.mp4", *options, "-i", make(clips, size), "-c", "copy")
    else:
        path = make(clips, size, *options)
    seconds = list(MediaSeconds(path, get_profile("clean-fast"), DecodeOptions()))
    assert {second.frames.shape[1:3] for second in seconds if second.frames is not None} == {expected}


@pytest.mark.parametrize("size", ["640x360", "1280x720", "300x1400"])
def test_scaled_frames_are_close_to_those_of_clean(clips: Clips, size: str) -> None:
    path = make(clips, size)
    (scaled, reader), (clean, full) = read_inputs(path, "clean-fast"), read_inputs(path, "clean")
    assert reader.summary.facts == full.summary.facts
    assert scaled["visual_2d"].shape == clean["visual_2d"].shape
    np.testing.assert_array_equal(scaled["audio"], clean["audio"])
    for stream in ("visual_2d", "visual_3d"):
        difference = np.abs(scaled[stream].astype(int) - clean[stream])
        assert difference.mean() < 4, stream  # levels of 255
        shifted = np.abs(clean[stream][..., :-2, :].astype(int) - clean[stream][..., 2:, :]).mean()
        assert difference.mean() < shifted / 3, stream  # a shift of two pixels would be seen


def test_small_frames_are_those_of_clean(clips: Clips) -> None:
    for stream, inputs in read_inputs(clips.steady, "clean-fast")[0].items():
        np.testing.assert_array_equal(inputs, read_inputs(clips.steady, "clean")[0][stream])


def test_decord_reads_for_the_fast_profiles_too(clips: Clips) -> None:
    pytest.importorskip("decord")
    path = make(clips, "640x360")
    (other, _), (own, _) = read_inputs(path, "fast", decoder="decord"), read_inputs(path, "fast")
    assert np.abs(other["visual_2d"].astype(int) - own["visual_2d"]).mean() < 3


def spec(profile: str, **fields: Any) -> FeatureSpec:
    found = get_profile(profile)
    return FeatureSpec(profile, found.version, ("a", "b", "c"), (3, 5, 4), found.rows_per_segment, **fields)


def test_parsers_of_clean_and_llp_read_features_of_fast() -> None:
    for trained_on in ("clean", "llp", "clean-fast"):
        assert spec(trained_on).differences(spec("fast")) == []
        assert spec(trained_on).approximated_by("fast")
    assert spec("clean").differences(spec("fast", similar_pictures=2.0)) == []
    assert spec("fast").differences(spec("clean")) == ["profile: fast / clean", "frames_per_segment: 2 / 8"]
    assert spec("ave").differences(spec("fast"))
    other = FeatureSpec("fast", 1, ("a", "b", "d"), (3, 5, 4), 2)
    assert spec("clean").differences(other) == ["extractors: ['a', 'b', 'c'] / ['a', 'b', 'd']"]


def test_features_of_profiles_are_not_mixed() -> None:
    assert spec("clean").mixing_differences(spec("fast")) == ["profile: clean / fast", "frames_per_segment: 8 / 2"]
    found = spec("fast").mixing_differences(spec("fast", similar_pictures=1.5))
    assert found == ["similar_pictures: 0.0 / 1.5"]


def test_similar_pictures_are_recorded_where_there_are_any() -> None:
    assert "similar_pictures" not in spec("clean").to_dict()
    changed = spec("fast", similar_pictures=1.5)
    assert changed.to_dict()["similar_pictures"] == 1.5
    assert FeatureSpec.from_dict(changed.to_dict()) == changed
    for wrong in (-1, 256, "1", True, None, float("nan")):
        with pytest.raises(ValueError, match="similar_pictures is"):
            FeatureSpec.from_dict({**changed.to_dict(), "similar_pictures": wrong})


def shades(clips: Clips, name: str, values: list[int]) -> Path:
    """A clip of 8 frames a second, all pixels of a frame of one grey, without loss."""
    raw = np.repeat(np.array(values, np.uint8), 64 * 64 * 3).tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x64", "-r", 8, "-i", "-")
    return clips.make(f"{name}.mkv", *source, "-c:v", "ffv1", feed=raw)


def test_similar_pictures_count_as_the_last_one_that_differed(clips: Clips) -> None:
    path = shades(clips, "drift", [10, 11, 12, 13, 14, 15, 16, 17, 17, 17, 15, 14, 14, 13, 12, 11])
    rows = {}
    for levels in (0.0, 2.0, 5.0):
        inputs, reader = read_inputs(path, "clean", similar_pictures=levels)
        rows[levels] = [int(picture[0, 0, 0]) for picture in inputs["visual_2d"]]
        assert len(reader.summary.rows["visual_3d"]) == 2
    assert rows[0.0] == [10, 11, 12, 13, 14, 15, 16, 17, 17, 17, 15, 14, 14, 13, 12, 11]
    # Each is compared with the last that was computed, so a slow change is not lost.
    assert rows[2.0] == [10] * 3 + [13] * 3 + [16] * 7 + [13] * 3
    assert rows[5.0] == [10] * 6 + [16] * 10
    assert read_inputs(path, "clean", similar_pictures=0.0)[0]["visual_2d"].shape == (16, 224, 224, 3)


def test_a_clip_is_similar_if_each_of_its_pictures_is(clips: Clips) -> None:
    path = shades(clips, "clips", [10] * 8 + [10, 10, 10, 40, 10, 10, 10, 10] + [12] * 8)
    _, reader = read_inputs(path, "clean", similar_pictures=3.0)
    assert reader.summary.rows["visual_3d"] == [0, 1, 2]  # 40 differs, although its clip does so by 3.75 in the mean
    _, reader = read_inputs(path, "clean", similar_pictures=30.0)
    assert reader.summary.rows["visual_3d"] == [0, 0, 0]
    assert reader.summary.rows["visual_2d"] == [0] * 24


def test_video_that_fails_is_black_whatever_was_similar(clips: Clips, tiny: Mapping[str, Extractor]) -> None:
    decoding = DecodeOptions(similar_pictures=255.0)
    features = extract_features(clips.steady, tiny, profile="clean", decoding=decoding)
    assert (features.visual_2d == features.visual_2d[0]).all()
    with pytest.raises(MediaError):
        extract_features(clips.headless, tiny, profile="clean", decoding=decoding)


def test_published_paths_compute_every_picture(clips: Clips, tiny: Mapping[str, Extractor]) -> None:
    with pytest.raises(ValueError, match="profile 'llp' computes every picture"):
        extract_features(clips.steady, tiny, profile="llp", decoding=DecodeOptions(similar_pictures=1.0))
    extract_features(clips.steady, tiny, profile="llp", decoding=DecodeOptions(similar_pictures=0.0))
    with pytest.raises(ValueError, match="similar pictures: 256 is not from 0 to 255 levels"):
        DecodeOptions(similar_pictures=256)


def test_the_api_parses_and_extracts_under_fast(clips: Clips, tiny_bundle: Path) -> None:
    decoding = DecodeOptions(similar_pictures=1.0)
    timeline = avvp.parse(clips.steady, weights=tiny_bundle, profile="fast", decoding=decoding, device="cpu")
    assert timeline.warnings == ("approximate: features of profile fast, but the parser was trained on profile clean",)
    assert timeline.provenance["features"]["similar_pictures"] == 1.0
    features = avvp.extract(clips.steady, weights=tiny_bundle, profile="fast", decoding=decoding, device="cpu")
    assert (features.visual_2d.shape, features.spec.similar_pictures) == ((6, 64), 1.0)
    assert avvp.extract(clips.steady, weights=tiny_bundle, profile="fast", device="cpu").spec.similar_pictures == 2.0
    with pytest.raises(SetupError, match="which fast does not approximate"):
        avvp.load("demo-avel", profile="fast", device="cpu")
    with pytest.raises(ValueError, match="unknown profile"):
        avvp.load(tiny_bundle, profile="faster", device="cpu")


def test_features_of_fast_are_parsed_with_a_warning(clips: Clips, tiny_bundle: Path) -> None:
    features = avvp.extract(clips.steady, weights=tiny_bundle, profile="fast", device="cpu")
    with avvp.load(tiny_bundle, device="cpu") as parser:
        warning = "approximate: features of profile fast, but the parser was trained on profile clean"
        assert parser.parse_features(features).warnings == (warning,)


def test_less_work_is_counted() -> None:
    names = ("vggish", "resnet152", "r2plus1d_18")
    full, less = (count_multiply_adds(names, profile) for profile in ("clean", "fast"))
    assert full / less == pytest.approx(2.55, abs=0.05)
