"""Small training jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import SplitDataset, load_clips
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.tasks import network_config
from avvp.pipeline.training.train_parser import TrainingJob

CPU = torch.device("cpu")
SMALL = ["model.hidden_dim=32", "model.feedforward_dim=32", "model.heads=4", "model.leap_heads=4", "model.levels=2"]
WEAK: dict[str, Any] = {
    "targets": "weak", "video_targets": "weak", "visual_smoothing": 0.1,
    "audio_segment_weight": 0.0, "visual_segment_weight": 0.0, "similarity_weight": 0.0,
}  # fmt: skip


def clips_of(root: Path, split: str, features: str = "features") -> SplitDataset:
    pseudo = root / "pseudo_labels" if split == "train" else None
    return load_clips(
        read_annotations(root / "annotations"), split, open_features(root / features), pseudo_labels=pseudo
    )


def make_job(
    data: Path, root: Path, *changes: str, recipe: str = "leap-published", features: str = "features", val: bool = True
) -> TrainingJob:
    root.mkdir(exist_ok=True)
    chosen = load_recipe(recipe, [*SMALL, *changes])
    clips = clips_of(data, "train", features)
    labels = read_annotations(data / "annotations").labels
    embeddings = torch.randn(len(labels), 12, generator=torch.Generator().manual_seed(5))
    config = network_config(chosen, labels, clips.features.spec, 10, 12)
    return TrainingJob(chosen, config, embeddings, clips, clips_of(data, "val", features) if val else None, root, CPU)
