"""The shipped demo model of event localization on clips it has never met; and that its accuracy can fail."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.models.localizers.config import LocalizerConfig
from avvp.models.localizers.losses import LocalizationObjective
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.evaluation.evaluate_timelines import evaluate_timelines
from avvp.pipeline.evaluation.localization import LocalizationEvaluation
from avvp.pipeline.synthetic.dataset import SynthJob, write_dataset
from avvp.pipeline.timeline import Timeline
from avvp.pipeline.training.recipe import load_recipe
from avvp.weights import load_bundle
from support.command import Result

CLIPS = 8  # one of each class
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of a seed that was in no training; 30 % of their seconds are background."""
    folder = tmp_path_factory.mktemp("held-out")
    write_dataset(folder, SynthJob({"test": CLIPS}, seed=109, task="avel"), workers=2)
    return folder


def parse_and_score(run: Run, videos: Path, held_out: Path, output: Path) -> LocalizationEvaluation:
    result = run("parse", videos, "--output-dir", output, "--weights", "demo-avel", "-q")
    assert result.status == 0, result.err
    evaluation = evaluate_timelines(output, read_annotations(held_out), "test")
    assert isinstance(evaluation, LocalizationEvaluation)
    return evaluation


def test_demo_model_on_unseen_clips(run: Run, held_out: Path, tmp_path: Path) -> None:
    evaluation = parse_and_score(run, held_out / "AVE", held_out, tmp_path)
    accuracy, events, background = evaluation.scores
    assert min(accuracy, events) > 85, evaluation.scores
    assert background > 60, evaluation.scores
    assert accuracy > max(scores.accuracy for scores in evaluation.baselines.values())
    for path in tmp_path.glob("*.json"):
        timeline = Timeline.load(path)
        assert {event.modality for event in timeline.events} <= {"audio_visual"}
        assert timeline.provenance["task"] == "avel"


def test_demo_model_needs_both_modalities(run: Run, held_out: Path, tmp_path: Path) -> None:
    """Each clip with the sound of the next: no class is both heard and seen, but for an object in the background."""
    (tmp_path / "mixed").mkdir()
    clips = sorted((held_out / "AVE").iterdir())
    for clip, following in zip(clips, [*clips[1:], clips[0]], strict=True):
        command = [ffmpeg_binary(), "-loglevel", "error", "-i", clip, "-i", following]
        command += ["-map", "0:v", "-map", "1:a", "-c", "copy", tmp_path / "mixed" / clip.name]
        subprocess.run(command, check=True)
    accuracy, events, _ = parse_and_score(run, tmp_path / "mixed", held_out, tmp_path / "parsed").scores
    assert max(accuracy, events) < 50
    parsed = [Timeline.load(path) for path in (tmp_path / "parsed").glob("*.json")]
    found = sum(event.offset - event.onset for timeline in parsed for event in timeline.events)
    assert found < 0.4 * 10 * CLIPS


def test_demo_bundle_is_small_and_documented() -> None:
    bundle = load_bundle("demo-avel")
    assert bundle.root is not None
    assert sum(path.stat().st_size for path in bundle.root.iterdir()) < 5e6
    assert "generated clips" in bundle.description
    assert bundle.warning is not None
    assert "generated clips" in bundle.warning
    card = (bundle.root / "README.md").read_text(encoding="utf-8")
    assert all(word in card for word in ("generated clips", "LEAP", "DCH", "all background"))


def test_its_recipes_differ_in_the_decoder_only() -> None:
    own, leap = load_recipe("demo-avel"), load_recipe("demo-avel-leap")
    assert own.training == leap.training
    assert (own.model["decoder"], leap.model["decoder"]) == ("dch", "leap")
    shared = {name: value for name, value in own.model.items() if name not in {"decoder", "classifier_dim"}}
    assert shared.items() <= leap.model.items()
    for recipe in (own, leap):
        config = LocalizerConfig(labels=("a", "b"), audio_dim=128, visual_dim=32, **recipe.model)
        assert recipe.objective == LocalizationObjective.published(config)
