"""Frames for parsers that compute with each of them before the mean of a second: folders, stores, batches, windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import avvp
import numpy as np
import pytest
import torch
from avvp.models.config import ParserConfig
from avvp.models.files.checkpoint import dump_checkpoint
from avvp.models.parser import build_parser
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import SplitDataset, load_clips
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.features.packed_store import INDEX_FILE, FeatureStore, open_features
from avvp.pipeline.features.packing import pack_features
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.inference.predict import predict_clips, predict_video
from avvp.pipeline.training.batch_memory import batch_bytes
from support.bundles import LABELS as BUNDLE_LABELS
from support.bundles import copy_bundle
from support.command import Result
from support.llp_like import FRAMES, Recipe, generate
from support.media import Clips
from support.parsers import TINY_SIZES, tiny_parser

Run = Callable[..., Result]
LABELS = ("class 0", "class 1", "class 2", "class 3")  # those of tiny_parser
DIMS = (6, 10, 7)
CPU = torch.device("cpu")
REASON = "the store has the mean of the frames of each second, and this parser (stem elu) computes with each frame"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features in a folder, in a store of means, and in a store of frames."""
    root = tmp_path_factory.mktemp("data")
    generate(root, Recipe({"train": 8, "val": 6, "test": 7}, labels=LABELS, dims=DIMS))
    pack_features(FeatureFolders(root / "features"), root / "means")
    pack_features(FeatureFolders(root / "features", frames=True), root / "frames")
    return root


def clips_of(root: Path, features: str, *, frames: bool = True) -> SplitDataset:
    return load_clips(read_annotations(root / "annotations"), "test", open_features(root / features, frames=frames))


def test_a_second_of_a_folder_and_of_a_store(data: Path) -> None:
    """Frame after frame, as the file has them; without, the mean."""
    folder, store = (open_features(data / name, frames=True) for name in ("features", "frames"))
    name = min(folder.ids())
    rows = np.load(data / "features" / "resnet_tiny" / f"{name}.npy")
    found = folder.read(name)
    assert found.shape == (10, 6 + FRAMES * 10 + 7)
    np.testing.assert_array_equal(found[:, 6 : 6 + FRAMES * 10].reshape(-1, 10), rows)
    np.testing.assert_array_equal(store.read(name), found)
    means = open_features(data / "means").read(name)
    assert means.shape == (10, sum(DIMS))
    np.testing.assert_allclose(means[:, 6:16], rows.reshape(10, FRAMES, 10).mean(axis=1), rtol=1e-6)
    index = json.loads((data / "frames" / INDEX_FILE).read_text())
    assert (index["format"], json.loads((data / "means" / INDEX_FILE).read_text())["format"]) == (3, 2)


def test_batches_have_frames(data: Path) -> None:
    folder, store = (clips_of(data, name).batch([0, 2]) for name in ("features", "frames"))
    assert folder.visual_2d is not None
    assert folder.visual_2d.shape == (2, 10 * FRAMES, 10)
    for one, other in zip(folder.features, store.features, strict=True):
        assert torch.equal(one, other)
    means = clips_of(data, "means", frames=False).batch([0, 2])
    assert means.visual_2d is not None
    torch.testing.assert_close(folder.visual_2d.unflatten(1, (10, FRAMES)).mean(dim=2), means.visual_2d)


@pytest.mark.parametrize("window", [10, 4])
def test_clips_and_windows_are_parsed_with_frames(data: Path, window: int) -> None:
    """Longer clips go through windows; the mean would give others."""
    parser = tiny_parser(stem="elu", encoder="han", decoder="mmil", segments=window).float()
    clips = clips_of(data, "frames")
    together = predict_clips(parser, clips, CPU)
    averaged = predict_clips(parser, clips_of(data, "means", frames=False), CPU)
    assert np.abs(together.visual - averaged.visual).max() > 1e-3
    for index, name in enumerate(clips.ids):
        folders = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
        streams = [np.load(data / "features" / folder / f"{name}.npy").astype(np.float32) for folder in folders]
        alone = predict_video(parser, streams, CPU)
        np.testing.assert_allclose(together.visual[index], alone.visual, atol=1e-6)


def test_a_linear_stem_gives_the_same_from_frames_and_from_means(data: Path) -> None:
    parser = tiny_parser(encoder="han", decoder="mmil").float()
    found = [predict_clips(parser, clips_of(data, name, frames=False), CPU) for name in ("frames", "means", "features")]
    for other in found[1:]:
        np.testing.assert_allclose(other.visual, found[0].visual, atol=1e-5)


def write_bundle(folder: Path) -> Path:
    spec = {
        "profile": "clean", "profile_version": 1, "extractors": ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny"],
        "dims": list(DIMS), "frames_per_segment": FRAMES, "sample_rate": 16000,
    }  # fmt: skip
    folder.mkdir()
    parser = tiny_parser(stem="elu", encoder="han", decoder="mmil").float()
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(parser, spec, {}))
    names = ", ".join(f'{name} = "{name}.safetensors"' for name in spec["extractors"])
    (folder / "bundle.toml").write_text(
        f'profile = "clean"\nextractors = {{ {names} }}\nparser = {{ checkpoint = "parser.safetensors" }}\n'
    )
    return folder


def test_a_store_of_means_is_refused(run: Run, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="pack the feature files again with avvp pack --frames"):
        open_features(data / "means", frames=True)
    bundle = write_bundle(tmp_path / "b")
    where = ("evaluate", "--weights", bundle, "--annotations", data / "annotations")
    refused = run(*where, "--features", data / "means")
    assert (refused.status, REASON in refused.err) == (2, True)
    scores = [
        json.loads(run(*where, "--features", data / name, "-f", "json").out)["scores"]
        for name in ("features", "frames")
    ]
    assert scores[0] == scores[1]
    training = (
        "train", "--annotations", data / "annotations", "--pseudo-labels", data / "pseudo_labels", "--recipe", "han",
        "--set", "model.stem=elu", "--set", "model.hidden_dim=8", "--set", "model.feedforward_dim=8", "--set",
        "model.heads=2", "--epochs", "1", "--device", "cpu", "-q",
    )  # fmt: skip
    refused = run(*training, "--features", data / "means", "-o", tmp_path / "no")
    assert (refused.status, REASON in refused.err) == (2, True)
    trained = run(*training, "--features", data / "frames", "-o", tmp_path / "run")
    assert trained.status == 0, trained.err
    assert run(*training, "--features", data / "frames", "-o", tmp_path / "run", "--resume").status in {0, 2}
    assert load_parser(str(tmp_path / "run")).parser.config.stem == "elu"  # pyright: ignore[reportAttributeAccessIssue]


def test_avvp_pack_frames(run: Run, data: Path, tmp_path: Path) -> None:
    result = run("pack", data / "features", tmp_path / "store", "--frames", "--dtype", "float16")
    assert result.status == 0, result.err
    store = FeatureStore(tmp_path / "store")
    name = min(store.ids())
    np.testing.assert_allclose(store.read(name), FeatureStore(data / "frames").read(name), rtol=1e-3, atol=1e-3)
    refused = run("pack", "--from-h5", data / "annotations", data / "annotations", "--frames", "-o", tmp_path / "x")
    assert refused.status == 2


def test_memory_of_a_batch_counts_frames() -> None:
    config = ParserConfig(
        labels=LABELS, stem="elu", encoder="han", decoder="mmil", **{**TINY_SIZES, "visual_2d_dim": 512}
    )
    linear = replace(config, stem="linear")
    assert batch_bytes(config, 4) > batch_bytes(linear, 4) + 4 * 4 * config.segments * 7 * config.hidden_dim


@pytest.fixture
def elu_bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    """The tiny bundle with a parser that needs frames."""
    folder = copy_bundle(tiny_bundle, tmp_path / "elu")
    loaded = load_parser(str(tiny_bundle))
    audio, visual_2d, visual_3d = loaded.spec.dims
    torch.manual_seed(5)
    config = ParserConfig(
        labels=BUNDLE_LABELS, audio_dim=audio, visual_2d_dim=visual_2d, visual_3d_dim=visual_3d, hidden_dim=16,
        feedforward_dim=16, heads=2, stem="elu", encoder="han", decoder="mmil", segments=2,
    )  # fmt: skip
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(build_parser(config), loaded.spec.to_dict(), {}))
    return folder


def probabilities(document: dict[str, Any]) -> np.ndarray:
    return np.array([document["segments"][name] for name in ("audio", "visual", "video")])


def test_batch_runs_parse_with_frames(run: Run, elu_bundle: Path, clips: Clips, tmp_path: Path) -> None:
    """As one file alone, and as Python does; longer than the window."""
    out = tmp_path / "out"
    result = run("parse", clips.steady, "--weights", elu_bundle, "--segments", "--output-dir", out)
    assert result.status == 0, result.err
    found = json.loads((out / f"{clips.steady.stem}.events.json").read_text())
    alone = json.loads(run("parse", clips.steady, "--weights", elu_bundle, "--segments", "-o", "-").out)
    np.testing.assert_allclose(probabilities(found), probabilities(alone), atol=1e-5)
    with avvp.load(elu_bundle) as parser:
        features = parser.extract(clips.steady)
        averaged = features.visual_2d.reshape(features.segments, -1, features.visual_2d.shape[1]).mean(axis=1)
        loaded = load_parser(str(elu_bundle))
        wrong = predict_video(loaded.parser, [features.audio, averaged, features.visual_3d], CPU)
    assert np.abs(wrong.visual - probabilities(found)[1]).max() > 1e-5


def test_extraction_to_a_store_with_frames(run: Run, elu_bundle: Path, clips: Clips, tmp_path: Path) -> None:
    where = ("extract", clips.blink, "--weights", elu_bundle, "--layout", "packed")
    assert run(*where, "--frames", "-o", tmp_path / "store").status == 0
    assert run("extract", clips.blink, "--weights", elu_bundle, "-o", tmp_path / "files").status == 0
    store, folder = (open_features(tmp_path / name, frames=True) for name in ("store", "files"))
    assert store.frames
    np.testing.assert_array_equal(store.read(clips.blink.stem), folder.read(clips.blink.stem))
    again = run(*where, "-o", tmp_path / "store")  # without frames: made again, with the means
    assert again.status == 0, again.err
    assert not open_features(tmp_path / "store").frames
    refused = run("extract", clips.blink, "--weights", elu_bundle, "--frames", "-o", tmp_path / "llp")
    assert (refused.status, "--frames goes with --layout packed" in refused.err) == (2, True)
