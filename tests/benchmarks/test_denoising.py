"""MA and JoMoLD remove more wrong labels than right ones: benchmarks/denoising.py on a small set."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import load_clips
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.training.stages.products import REMOVED_FILE, read_removed
from support.paths import ROOT

CLASSES, SEED = 6, 1
SETTINGS = (
    "model.hidden_dim=32", "model.feedforward_dim=32", "training.learning_rate=4e-3", "training.batch_size=16",
    "training.step_epochs=20", "training.epochs=10",
)  # fmt: skip


def test_more_wrong_labels_are_removed_than_right_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    denoising = importlib.import_module("denoising")
    data, root = tmp_path / "data", tmp_path / "runs"
    root.mkdir()
    truth = denoising.make_data(data, denoising.Options(120, 10, 10, CLASSES, wrong=0.2, epochs=10, seeds=1))
    clips = load_clips(read_annotations(data / "annotations"), "train", open_features(data / "features"))
    run = denoising.train(data, root, "ma", SEED, SETTINGS)
    removed = read_removed(next(run.glob(f"stages/*/{REMOVED_FILE}")), clips, LLP_LABELS[:CLASSES])
    for wrong, wrong_gone, right, right_gone in denoising.count_removals(removed, clips, truth).values():
        assert min(wrong, right) > 90
        assert wrong_gone / wrong > 0.5
        assert right_gone / right < 0.2
    run = denoising.train(data, root, "jomold", SEED, SETTINGS)
    removed = denoising.removed_by_jomold(run, clips, SEED, SETTINGS)
    wrong, wrong_gone, right, right_gone = denoising.count_removals(removed, clips, truth)["visual"]
    assert wrong_gone / wrong > 0.25
    assert right_gone / right < 0.15
