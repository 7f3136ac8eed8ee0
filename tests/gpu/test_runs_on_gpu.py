"""Whole commands on a GPU are held to the same commands on the CPU: extract, parse, train, pseudo labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors.inputs import LOG_MEL
from avvp.pipeline.batch.batch_filler import Batch, BatchFiller
from avvp.pipeline.batch.work import PendingVideo, VideoJob
from avvp.pipeline.devices import FP32
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.parse_video import parse_video
from avvp.pipeline.pseudo_labeling.prompts import parse_prompts
from avvp.pipeline.pseudo_labeling.teachers import load_teachers
from avvp.pipeline.training.run_folder import LAST_FILE
from avvp.pipeline.training.train_parser import TrainingJob, train
from safetensors.torch import load_file
from support.command import Result
from support.encoded import encode_clip
from support.llp_like import Recipe, generate
from support.training import make_job

pytestmark = pytest.mark.gpu
GPU, CPU = torch.device("cuda"), torch.device("cpu")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(5):
        encode_clip(folder / f"clip{seed}.mp4", seconds=2 + seed % 3, seed=seed)
    return folder


def features(folder: Path) -> dict[str, np.ndarray]:
    store = open_features(folder)
    return {name: store.read(name) for name in sorted(store.ids())}


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_extracted_features_are_those_of_the_cpu(
    run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path, precision: str
) -> None:
    common = (videos, "--weights", tiny_bundle, "--layout", "packed", "--workers", 2, "-q")
    assert run("extract", *common, "-o", tmp_path / "cpu", "--device", "cpu").status == 0
    made = run("extract", *common, "-o", tmp_path / "gpu", "--device", "cuda", "--precision", precision)
    assert made.status == 0, made.err
    expected, found = features(tmp_path / "cpu"), features(tmp_path / "gpu")
    assert len(found) == len(expected) == 5
    for name, rows in found.items():
        assert rows.shape == expected[name].shape
        difference = np.linalg.norm(rows - expected[name]) / np.linalg.norm(expected[name])
        assert difference < (1e-5 if precision == "fp32" else 3e-2), name


def test_features_of_frames_decoded_by_the_gpu(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    common = (videos, "--weights", tiny_bundle, "--layout", "packed", "--device", "cuda", "--workers", 2, "-q")
    assert run("extract", *common, "-o", tmp_path / "cpu").status == 0
    made = run("extract", *common, "-o", tmp_path / "gpu", "--decoder", "cuda")
    assert made.status == 0, made.err
    expected, found = features(tmp_path / "cpu"), features(tmp_path / "gpu")
    for name, rows in found.items():
        assert np.linalg.norm(rows - expected[name]) / np.linalg.norm(expected[name]) < 1e-2, name


def test_extraction_does_not_depend_on_other_videos(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    common = ("--weights", tiny_bundle, "--layout", "packed", "--device", "cuda", "-q")
    assert run("extract", videos, *common, "-o", tmp_path / "all", "--workers", 3).status == 0
    assert run("extract", videos / "clip1.mp4", *common, "-o", tmp_path / "one").status == 0
    np.testing.assert_array_equal(features(tmp_path / "all")["clip1"], features(tmp_path / "one")["clip1"])


def test_batches_are_filled_in_pinned_memory() -> None:
    batches: list[Batch] = []
    filler = BatchFiller({"audio": 4}, {"audio": LOG_MEL}, batches.append, pinned=True)
    video = PendingVideo(VideoJob("one", Path("one"), ("audio",)), {"audio": 3})
    inputs = np.random.default_rng(0).random((6, *LOG_MEL.shape), np.float32)
    filler.add(video, "audio", inputs)
    filler.flush()
    assert [torch.from_numpy(batch.inputs).is_pinned() for batch in batches] == [True, True]
    np.testing.assert_array_equal(np.concatenate([batch.inputs for batch in batches])[:6], inputs)
    assert not batches[1].inputs[2:].any()
    video.close()


def test_a_timeline_is_that_of_the_cpu(videos: Path) -> None:
    expected, found = (parse_video(videos / "clip2.mp4", weights="demo", device=device) for device in ("cpu", "cuda"))
    assert found.provenance["device"].startswith("cuda")
    assert [(event.label, event.onset, event.offset) for event in found.events] == [
        (event.label, event.onset, event.offset) for event in expected.events
    ]
    assert expected.probabilities is not None
    assert found.probabilities is not None
    wanted = expected.probabilities.arrays()
    for name, table in found.probabilities.arrays().items():
        np.testing.assert_allclose(table, wanted[name], atol=1e-4, err_msg=name)


def make_gpu_job(data: Path, root: Path, device: torch.device, *changes: str) -> TrainingJob:
    still = ("model.dropout=0.0", "model.attention_dropout=0.0", "training.epochs=2", "training.batch_size=8")
    return replace(make_job(data, root, *still, *changes), device=device)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    generate(root, Recipe({"train": 20, "val": 6, "test": 6}, labels=("Speech", "Dog", "Car"), dims=(3, 5, 4)))
    return root


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_follows_that_of_the_cpu(data: Path, tmp_path: Path, precision: str) -> None:
    FP32.prepare(GPU)
    slow = train(make_gpu_job(data, tmp_path / "cpu", CPU))
    fast = train(make_gpu_job(data, tmp_path / "gpu", GPU, f"training.precision={precision}"))
    for expected, found in zip(slow.log, fast.log, strict=True):
        for name, value in expected["losses"].items():
            assert found["losses"][name] == pytest.approx(value, rel=1e-4 if precision == "fp32" else 3e-2), name
    expected, found = (load_file(tmp_path / name / LAST_FILE) for name in ("cpu", "gpu"))
    assert all(value.device == CPU for value in found.values())
    if precision == "fp32":
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-2, atol=2e-4, msg=key)


def test_a_resumed_run_on_a_gpu_follows_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    whole = train(make_gpu_job(data, tmp_path / "whole", GPU, "training.epochs=3"))
    job = make_gpu_job(data, tmp_path / "parts", GPU, "training.epochs=3")
    recipe = replace(job.recipe, training=replace(job.recipe.training, epochs=1))
    train(replace(job, recipe=recipe))
    resumed = train(job)
    assert len(resumed.log) == len(whole.log) == 3
    for expected, found in zip(whole.log, resumed.log, strict=True):
        assert found["losses"]["total"] == pytest.approx(expected["losses"]["total"], rel=1e-3)


def test_teachers_give_the_scores_of_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from support.teachers import PROMPTS, write_teachers

    clip, clap = write_teachers(tmp_path)
    prompts = parse_prompts(PROMPTS.encode(), "prompts.toml")
    rows: dict[str, dict[str, torch.Tensor]] = {}
    for device in ("cpu", "cuda"):
        loaded = load_teachers(prompts, clip=str(clip), clap=str(clap), offline=True, device=device, precision=FP32)
        of_device = {}
        for stream, network in loaded.networks[0][1].items():
            form = network.input_format
            inputs = torch.from_numpy(np.random.default_rng(1).random((3, *form.shape), np.float32)).to(device)
            with torch.inference_mode():
                of_device[stream] = network(network.prepare(inputs)).cpu()
        rows[device] = of_device
    for stream, expected in rows["cpu"].items():
        torch.testing.assert_close(rows["cuda"][stream], expected, rtol=1e-3, atol=1e-3)
