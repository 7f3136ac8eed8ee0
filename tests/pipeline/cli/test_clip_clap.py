"""CLIP and CLAP as features, from videos to a trained parser that parses them, with tiny models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import avvp
import numpy as np
import pytest
import torch
from avvp.extractors import Extractor, build_extractor
from avvp.pipeline.datasets.write_annotations import write_annotations
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.features.extract import extract_features
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.timeline import SegmentLabels
from avvp.weights.load import read_state_dict
from safetensors.torch import save_file
from support.command import Result
from support.media import ffmpeg
from support.teachers import CLASSES, PROMPTS, small_clap, small_clip, write_teachers

pytest.importorskip("transformers")

FOLDERS = {"audio": "CLAP/features", "visual_2d": "CLIP/features"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders clip and clap for transformers, and bundles of the same parameters, without a parser."""
    root = tmp_path_factory.mktemp("models")
    write_teachers(root)
    torch.manual_seed(5)
    third = build_extractor("r2plus1d_tiny").state_dict()
    states = {"clip_tiny": small_clip().state_dict(), "clap_tiny": small_clap().state_dict(), "r2plus1d_tiny": third}
    for name, extractors in (("clip-clap", ("clap_tiny", "clip_tiny")), ("clip-clap-3d", tuple(states))):
        (root / name).mkdir()
        for extractor in extractors:
            tensors = {key: value.contiguous() for key, value in states[extractor].items()}
            save_file(tensors, root / name / f"{extractor}.safetensors")
        table = ", ".join(f'{extractor} = "{extractor}.safetensors"' for extractor in extractors)
        text = f'profile = "{name}"\nextractors = {{ {table} }}\nparser = {{}}\n'
        (root / name / "bundle.toml").write_text(text)
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of three seconds; one without audio, and one whose picture ends two seconds early."""
    folder = tmp_path_factory.mktemp("videos")
    picture, sound = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=16:d={}"), ("-f", "lavfi", "-i", "sine=f=300:d={}")
    for name, seconds in (("one", (3, 3)), ("mute", (3, 0)), ("early", (2, 4))):
        inputs = [part.format(seconds[0]) for part in picture]
        inputs += [part.format(seconds[1]) for part in sound if seconds[1]]
        ffmpeg(*inputs, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", folder / f"{name}.mp4")
    return folder


@pytest.fixture(scope="module")
def networks(models: Path) -> dict[str, Extractor]:
    files = {path.stem: path for path in (models / "clip-clap-3d").glob("*.safetensors")}
    return {name: build_extractor(name, read_state_dict(path)) for name, path in files.items()}


@pytest.fixture
def extracted(run: Callable[..., Result], models: Path, videos: Path) -> Path:
    """The features of all videos, made by the first test that needs them."""
    folder = models / "features"
    if not folder.exists():
        result = run("extract", videos, "-o", folder, "--weights", models / "clip-clap", "--device", "cpu")
        assert result.status == 0, result.err
    return folder


def test_extracted_features_are_those_that_pseudo_label_saves(
    run: Callable[..., Result], extracted: Path, models: Path, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(PROMPTS)
    teachers = ("--clip-model", models / "clip", "--clap-model", models / "clap", "--offline", "--device", "cpu")
    options = ("--no-weak-labels", "--save-features", "--prompts", tmp_path / "mine.toml")
    assert run("pseudo-label", videos, *options, *teachers, "-o", tmp_path / "labelled").status == 0
    for name, seconds in (("one", 3), ("mute", 3), ("early", 4)):
        for folder in FOLDERS.values():
            rows = np.load(extracted / folder / f"{name}.npy")
            assert rows.shape == (seconds, 12)
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
            np.testing.assert_array_equal(rows, np.load(tmp_path / "labelled" / folder / f"{name}.npy"))
    ours, saved = open_features(extracted), open_features(tmp_path / "labelled")
    assert ours.spec.streams == saved.spec.streams == ("audio", "visual_2d")
    assert (ours.spec.profile, ours.spec.sample_rate) == (saved.spec.profile, saved.spec.sample_rate)
    assert ours.spec.extractors == ("clap_tiny", "clip_tiny")
    np.testing.assert_array_equal(ours.read("one"), saved.read("one"))


def test_one_file_a_part_of_it_and_a_packed_store(
    run: Callable[..., Result], extracted: Path, models: Path, videos: Path, networks: dict[str, Extractor],
    tmp_path: Path,
) -> None:  # fmt: skip
    two = {name: networks[name] for name in ("clap_tiny", "clip_tiny")}
    whole = extract_features(videos / "one.mp4", two, profile="clip-clap")
    for stream, folder in FOLDERS.items():
        found = getattr(whole, stream)
        np.testing.assert_allclose(found, np.load(extracted / folder / "one.npy"), atol=1e-6)
    part = extract_features(videos / "one.mp4", two, profile="clip-clap", decoding=DecodeOptions(start=1.2, end=2.5))
    assert part.media is not None
    assert part.media.parsed == (1, 3)
    assert part.warnings[0].startswith("only 0:01 to 0:03 was parsed")
    for stream in FOLDERS:
        np.testing.assert_allclose(getattr(part, stream), getattr(whole, stream)[1:3], atol=1e-6)
    with pytest.raises(ValueError, match="resamples by ffmpeg"):
        extract_features(videos / "one.mp4", two, profile="clip-clap", decoding=DecodeOptions(resampler="torchaudio"))
    packed = ("-o", tmp_path / "packed", "--weights", models / "clip-clap", "--layout", "packed", "--device", "cpu")
    assert run("extract", videos, *packed).status == 0
    np.testing.assert_array_equal(open_features(tmp_path / "packed").read("one"), open_features(extracted).read("one"))


def test_python_calls_compute_the_same(extracted: Path, models: Path, videos: Path) -> None:
    features = avvp.extract(videos / "early.mp4", weights=str(models / "clip-clap"), device="cpu")
    for stream, folder in FOLDERS.items():
        np.testing.assert_allclose(getattr(features, stream), np.load(extracted / folder / "early.npy"), atol=1e-6)
    assert features.visual_3d.size == 0
    assert "profile clip-clap" in repr(features)


def test_without_transformers_the_extra_is_named(
    run: Callable[..., Result], models: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = run("extract", videos, "-o", tmp_path / "features", "--weights", models / "clip-clap", "--device", "cpu")
    assert result.status == 2
    assert "CLIP and CLAP need transformers; install it with: pip install 'avvp[pseudo]'" in result.err


def test_clips_of_frames_are_those_of_llp(videos: Path, networks: dict[str, Extractor]) -> None:
    """VALOR++ reads R(2+1)D's features beside CLIP's and CLAP's."""
    torch.manual_seed(6)
    others = {name: build_extractor(name) for name in ("vggish_tiny", "resnet_tiny")}
    for name in ("one", "early"):
        path = videos / f"{name}.mp4"
        found = extract_features(path, networks, profile="clip-clap-3d")
        llp = extract_features(path, {**others, "r2plus1d_tiny": networks["r2plus1d_tiny"]}, profile="llp")
        np.testing.assert_allclose(found.visual_3d, llp.visual_3d, atol=1e-5)
        assert found.spec.dims == (12, 12, networks["r2plus1d_tiny"].dim)
        assert found.spec.rates == (1, 1, 1)


def write_labels(folder: Path) -> Path:
    folder.mkdir()
    on, off = np.ones((4, 2), bool), np.zeros((4, 2), bool)
    train = {"one_0_4": SegmentLabels(on, off), "mute_0_4": SegmentLabels(off, on)}
    write_annotations(folder, CLASSES, {"train": train, "val": {"early_0_4": SegmentLabels(on, on)}})
    return folder


def test_a_parser_of_two_streams_is_trained_scored_and_parses_videos(
    run: Callable[..., Result], extracted: Path, models: Path, videos: Path, tmp_path: Path
) -> None:
    annotations, root = write_labels(tmp_path / "labels"), tmp_path / "run"
    changes = ("training.epochs=1", "model.hidden_dim=16", "model.feedforward_dim=16", "objective.targets=weak")
    data = ("--annotations", annotations, "--features", extracted)
    trained = run(
        "train", *data, "--recipe", "han", "-o", root, "--extractors", models / "clip-clap", "--device", "cpu",
        *(part for change in changes for part in ("--set", change)),
    )  # fmt: skip
    assert trained.status == 0, trained.err
    assert "clip-clap features of clap_tiny, clip_tiny" in trained.err
    assert run("evaluate", *data, "--weights", root, "--split", "val", "--device", "cpu").status == 0
    for name in ("one.mp4", "mute.mp4"):
        parsed = run("parse", videos / name, "--weights", root, "--device", "cpu", "-f", "json")
        assert parsed.status == 0, parsed.err
        timeline = json.loads(parsed.out)
        assert timeline["provenance"]["features"]["extractors"] == ["clap_tiny", "clip_tiny"]
        assert timeline["provenance"]["features"]["sample_rate"] == 48_000
    many = run("parse", videos, "--weights", root, "--device", "cpu", "--output-dir", tmp_path / "events")
    assert many.status == 0, many.err
    exported = run("export", root, "-o", tmp_path / "exported", "--parser-only")
    assert exported.status == 0, exported.err
    written = json.loads((tmp_path / "exported" / "export.json").read_text())["networks"]
    assert [one["name"] for one in written["parser"]["inputs"]] == ["audio", "visual_2d", "lengths"]


def test_features_of_another_profile_are_refused(
    run: Callable[..., Result], extracted: Path, models: Path, videos: Path, tmp_path: Path
) -> None:
    data = ("--annotations", write_labels(tmp_path / "labels"), "--features", extracted)
    refused = run("train", *data, "--recipe", "ave", "-o", tmp_path / "run")
    assert refused.status == 2
    assert "holds audio, visual_2d of profile clip-clap" in refused.err
    alone = run("parse", videos / "one.mp4", "--weights", models / "clip-clap", "--device", "cpu")
    assert alone.status == 2
    assert "it has extractors alone, no parser" in alone.err
    swapped = run("extract", videos, "-o", tmp_path / "other", "--weights", models / "clip-clap", "--profile", "llp")
    assert swapped.status == 2
    assert "profile llp needs one extractor for each of audio, visual_2d, visual_3d" in swapped.err


def test_the_profile_names_its_bundle(run: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    result = run("extract", videos, "-o", tmp_path / "features", "--profile", "clip-clap", "--offline")
    assert result.status == 2
    for file in ("clip-vit-large-patch14.safetensors (1.", "630k-fusion-best.pt (1."):
        assert file in result.err
    assert "https://huggingface.co/openai/clip-vit-large-patch14/resolve/32bd6428" in result.err
