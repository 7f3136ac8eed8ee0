"""CMPAE's search of the thresholds of visual videos: its own program's on LLP, by hand, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.files.checkpoint import dump_checkpoint
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.evaluation.tune_thresholds import choose_visual_thresholds
from avvp.pipeline.inference.thresholds import DecisionRule, Thresholds, read_thresholds
from avvp.pipeline.metrics import score
from avvp.pipeline.timeline import SegmentLabels, SegmentProbabilities
from support.command import Result
from support.golden import LLP, SEED, load_npz, needs_golden
from support.llp_like import FRAMES, Recipe, generate
from support.parsers import tiny_parser

LABELS = ("class 0", "class 1", "class 2", "class 3")  # those of tiny_parser
DIMS = (6, 10, 7)
CLIPS = 60  # of the golden
RULE = DecisionRule("own")


def probabilities_of(truth: SegmentLabels) -> SegmentProbabilities:
    """The synthetic ones of the golden (README-zoo.md), of the first clips of LLP's validation split."""
    active = np.stack([truth.audio, truth.visual], axis=2)  # (N, T, 2, C)
    segments, videos = np.empty(active.shape, np.float32), np.empty((CLIPS, 2, active.shape[3]), np.float32)
    for clip in range(CLIPS):
        rng = np.random.default_rng([SEED, clip])
        u, w = rng.random((10, 2, 25)), rng.random((2, 25))
        segments[clip] = np.where(active[clip], 0.15 + 0.6 * u, 0.35 * u)
        videos[clip] = np.where(active[clip].any(axis=0), 0.3 + 0.5 * w, 0.7 * w)
    repeated = np.repeat(videos[:, None], 10, axis=1)
    return SegmentProbabilities(segments[:, :, 0], segments[:, :, 1], repeated[:, :, 0], repeated[:, :, 1])


@needs_golden
def test_chosen_thresholds_and_scores_are_those_of_the_published_program() -> None:
    annotations = read_annotations(LLP)
    truth = annotations.segment_labels(annotations.split("val"), 10).select(slice(CLIPS))
    predictions, golden = probabilities_of(truth), load_npz("cmpae_official.npz")
    chosen = choose_visual_thresholds(predictions, truth.audio, truth.visual)
    np.testing.assert_array_equal(chosen, golden["thresholds/visual_video"])
    uniform = replace(Thresholds.uniform(LLP_LABELS, 0.25, 0.45), rule=RULE)
    for name, thresholds in (("uniform", uniform), ("chosen", replace(uniform, visual_video=chosen))):
        scores = score(*thresholds.decide(predictions), *truth)
        found = [*vars(scores.segment).values(), *vars(scores.event).values(), scores.mean]
        np.testing.assert_allclose(found, golden[f"thresholds/scores_{name}"], rtol=1e-9)


def test_the_highest_of_equal_thresholds_by_hand() -> None:
    """Class 0 is seen in clip 0, whose video has 0.52; class 1 in none, with 0.6 in clip 1; class 2 is alike."""
    truth = np.zeros((2, 3, 3), bool)
    truth[0, :2, 0] = True
    segments = np.where(truth, 0.4, 0.1).astype(np.float32)
    segments[1, :, 1] = 0.4
    videos = np.zeros((2, 3, 3), np.float32)
    videos[0, :, 0], videos[1, :, 1], videos[:, :, 2] = 0.52, 0.6, 0.5
    predictions = SegmentProbabilities(segments, segments, videos, videos)
    # From 0.55 on, class 0 is lost; above 0.6, the false event of class 1 is.
    assert choose_visual_thresholds(predictions, truth, truth).tolist() == [0.5, 0.7, 0.7]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    generate(root, Recipe({"val": 9, "test": 12}, labels=LABELS, dims=DIMS))
    return root


def write_bundle(folder: Path, **settings: Any) -> Path:
    spec = {
        "profile": "clean", "profile_version": 1, "extractors": ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny"],
        "dims": list(DIMS), "frames_per_segment": FRAMES, "sample_rate": 16000,
    }  # fmt: skip
    folder.mkdir()
    parser = tiny_parser(decoder="mmil", **settings).float()
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(parser, spec, {}))
    names = ", ".join(f'{name} = "{name}.safetensors"' for name in spec["extractors"])
    (folder / "bundle.toml").write_text(
        f'profile = "clean"\nextractors = {{ {names} }}\nparser = {{ checkpoint = "parser.safetensors" }}\n'
    )
    return folder


def test_from_the_command_line(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    """Only the thresholds of visual videos are tuned; the others stay those of the bundle."""
    bundle = write_bundle(tmp_path / "b", video_filter="own", segment_threshold=0.25, video_threshold=0.45)
    where = ("evaluate", "--weights", bundle, "--annotations", data / "annotations", "--features", data / "features")
    file = tmp_path / "t.toml"
    result = run(*where, "--tune-thresholds", file, "--tune-by", "visual-videos", "-f", "json")
    assert result.status == 0, result.err
    tables = read_thresholds(file)
    assert set(tables["visual_segment"].values()) == set(tables["audio_segment"].values()) == {0.25}
    assert set(tables["audio_video"].values()) == {0.45}
    assert all(0.25 <= value <= 0.7 for value in tables["visual_video"].values())
    tuned = json.loads(result.out)
    again = json.loads(run(*where, "--thresholds", file, "-f", "json").out)
    assert again["scores"] == tuned["scores"]
    (bundle / "thresholds.toml").write_bytes(file.read_bytes())
    (bundle / "bundle.toml").write_text(
        (bundle / "bundle.toml").read_text().replace(" }", ', thresholds = "thresholds.toml" }')
    )
    shipped = json.loads(run(*where, "-f", "json").out)
    assert (shipped["scores"], shipped["notes"]) == (tuned["scores"], ["Thresholds are those of the bundle's file."])


def test_where_visual_videos_decide_nothing(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    where = ("evaluate", "--weights", bundle, "--annotations", data / "annotations", "--features", data / "features")
    result = run(*where, "--tune-thresholds", tmp_path / "t.toml", "--tune-by", "visual-videos")
    assert (result.status, "no video-level decision of the visual modality alone" in result.err) == (2, True)
    result = run(*where, "--tune-by", "visual-videos")
    assert (result.status, "--tune-by goes with --tune-thresholds" in result.err) == (2, True)
