"""Training small extractors: examples with their labels, learning, and the bundle that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import avvp
import numpy as np
import pytest
import torch
from avvp.extractors.inputs import FRAME, FRAME_CLIP, LOG_MEL
from avvp.extractors.mel import LOG_OFFSET
from avvp.extractors.registry import build_extractor
from avvp.extractors.sampling import LLP_STREAMS, Stream
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.errors import DatasetError
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from avvp.pipeline.synthetic.dataset import SynthJob
from avvp.pipeline.training.extractor_examples import EXAMPLE_FRAMES_PER_SECOND, Examples, decode_examples
from avvp.pipeline.training.settings.extractor_settings import ExtractorTrainingConfig
from avvp.pipeline.training.train_extractors import mix_examples, train_extractor
from support.command import Result
from support.synth import write_clips


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = SynthJob({"train": 4, "val": 2, "test": 3}, seed=9, seconds=3)
    return write_clips(tmp_path_factory.mktemp("synth") / "set", job)


def test_examples_are_what_extraction_sees_with_the_labels_of_their_second(data: Path, tmp_path: Path) -> None:
    annotations = read_annotations(data / "annotations")
    videos = {path.stem: path for path in (data / "videos").iterdir()}
    found = decode_examples(videos, annotations, ["val", "test"], tmp_path, lambda: DecodeWorker("clean"), workers=2)
    assert {stream: len(found[stream].inputs) for stream in LLP_STREAMS} == {
        "audio": 15, "visual_2d": 15 * EXAMPLE_FRAMES_PER_SECOND, "visual_3d": 15,
    }  # fmt: skip
    truth = np.concatenate([annotations.modality_labels(annotations.split(s), "visual", 3) for s in ("val", "test")])
    np.testing.assert_array_equal(found["visual_3d"].labels, truth.reshape(15, -1))
    np.testing.assert_array_equal(found["visual_2d"].labels[::2], truth.reshape(15, -1))
    first = videos[annotations.split("val").filenames[0].rsplit("_", 2)[0]]
    inputs = NetworkInputs(first, [FRAME, FRAME_CLIP, LOG_MEL], profile="clean")
    given: dict[str, list[np.ndarray]] = {stream: [] for stream in LLP_STREAMS}
    for stream, some in inputs:
        given[stream].append(some)
    second: dict[Stream, slice] = {"audio": slice(0, 3), "visual_3d": slice(0, 3), "visual_2d": slice(2, 24, 4)}
    for stream, picked in second.items():
        rows = np.concatenate(given[stream])[inputs.summary.rows[stream]][picked]
        np.testing.assert_array_equal(found[stream].inputs[: len(rows)], rows)
    with pytest.raises(DatasetError, match="some clips have no video"):
        decode_examples({}, annotations, ["val"], tmp_path, lambda: DecodeWorker("clean"), workers=1)


def test_a_network_learns_what_its_labels_say() -> None:
    """Loud is one class, low the other."""
    rng = np.random.default_rng(0)
    loud = rng.random(256) < 0.5
    inputs = (rng.standard_normal((256, 96, 64)) + 2 * loud[:, None, None]).astype(np.float32)
    examples, losses = Examples(inputs, np.stack([loud, ~loud], axis=1)), []
    schedule = ExtractorTrainingConfig(epochs=8, learning_rate=5e-3)
    first = train_extractor("vggish_tiny", examples, schedule, on_epoch=lambda *epoch: losses.append(epoch[2]))
    assert losses[-1] < 0.3 * losses[0]
    again = train_extractor("vggish_tiny", examples, schedule)
    assert all((first[key] == again[key]).all() for key in first)


def test_maps_learn_what_is_anywhere_in_a_picture() -> None:
    """A bright square in a corner is one class; its maps are near a root mean square of 1."""
    rng = np.random.default_rng(0)
    shown = np.arange(16) % 2 == 0
    inputs = rng.integers(0, 60, (16, 224, 224, 3), np.uint8)
    corners = rng.integers(0, 2, (16, 2)) * 160
    for picture, (top, left), bright in zip(inputs, corners, shown, strict=True):
        picture[top : top + 64, left : left + 64] += np.uint8(180) * bright
    examples, losses = Examples(inputs, shown[:, None]), []
    schedule = ExtractorTrainingConfig(epochs=20, learning_rate=3e-3)
    state = train_extractor("vgg19_small", examples, schedule, on_epoch=lambda *epoch: losses.append(epoch[2]))
    assert losses[-1] < 0.3 * losses[0]
    network = build_extractor("vgg19_small", state)
    maps = network(network.prepare(torch.from_numpy(inputs[:1]))).reshape(7, 7, 32)
    assert 0.3 < float(maps.square().mean().sqrt()) < 3
    top, left = corners[0] // 160 * 5  # the square covers rows 0 and 1, or 5 and 6, of the map
    gap = maps - maps.mean(dim=(0, 1))
    assert gap[top : top + 2, left : left + 2].abs().mean() > 2 * gap.abs().mean()


def test_profile_ave_has_examples_of_audio_and_pictures(data: Path, tmp_path: Path) -> None:
    annotations = read_annotations(data / "annotations")
    videos = {path.stem: path for path in (data / "videos").iterdir()}
    streams: list[Stream] = ["audio", "visual_map"]
    found = decode_examples(
        videos, annotations, ["val"], tmp_path, lambda: DecodeWorker("ave-4"), workers=1, streams=streams
    )
    assert {stream: one.inputs.shape for stream, one in found.items()} == {
        "audio": (6, 96, 64), "visual_map": (12, 224, 224, 3),
    }  # fmt: skip
    with avvp.open_media(videos[annotations.split("val").filenames[0].rsplit("_", 2)[0]], "ave-4") as media:
        expected = [second.frames[index] for second in media if second.frames is not None for index in (1, 3)]
    np.testing.assert_array_equal(found["visual_map"].inputs[:6], expected)


class _Dice:
    """Draws the next example for each, 0 dB, and lays over the first alone."""

    def permutation(self, count: int) -> np.ndarray:
        return np.roll(np.arange(count), -1)

    def uniform(self, _low: float, _high: float, count: int) -> np.ndarray:
        return np.zeros(count)

    def random(self, count: int) -> np.ndarray:
        return np.linspace(0, 0.9, count)


def test_sounds_that_are_laid_over_each_other_add_their_power() -> None:
    """Magnitudes 3 and 4 are 5 together; what is heard is what either has."""
    magnitudes = torch.tensor([3.0, 4.0, 7.0])
    x = (magnitudes + LOG_OFFSET).log()[:, None, None].expand(3, 96, 64)
    labels = torch.eye(3, dtype=torch.bool)
    mixed, audio = mix_examples(x, labels, 0.4, cast("np.random.Generator", _Dice()))
    torch.testing.assert_close(mixed.exp()[:, 0, 0] - LOG_OFFSET, torch.tensor([5.0, 4.0, 7.0]))
    assert audio.int().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_profile_ave_trains_a_bundle_for_maps(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    common = ("train-extractors", data / "videos", "--annotations", data / "annotations", "-o", bundle)
    result = run(*common, "--epochs", 1, "--profile", "ave-4")
    assert result.status == 0, result.err
    assert "vgg19_small: epoch 1/1, loss" in result.err
    assert "resnet_small" not in result.err
    video = next((data / "videos").iterdir())
    assert run("extract", video, "-o", tmp_path / "features", "--weights", bundle).status == 0
    assert np.load(tmp_path / f"features/vgg19_small/{video.stem}.npy").shape == (3, 7 * 7 * 32)


def test_from_generated_clips_to_features(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    common = ("train-extractors", data / "videos", "--annotations", data / "annotations", "-o", tmp_path / "bundle")
    result = run(*common, "--epochs", 1)
    assert result.status == 0, result.err
    assert "resnet_small: epoch 1/1, loss" in result.err
    assert not [path for path in (tmp_path / "bundle").iterdir() if path.name.startswith(".")]
    assert "already holds bundle.toml" in run(*common).err
    video = next((data / "videos").iterdir())
    assert run("extract", video, "-o", tmp_path / "features", "--weights", tmp_path / "bundle").status == 0
    assert np.load(tmp_path / f"features/resnet_small/{video.stem}.npy").shape == (24, 128)
