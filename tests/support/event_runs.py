"""Small data and options for `avvp train` with recipes of localizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.ave_like import AveLike, write_ave_like

SETTINGS = ("hidden_dim=16", "attention_dim=8", "classifier_dim=8", "leap_heads=2", "leap_feedforward_dim=16")
CMBS_SETTINGS = ("feedforward_dim=16", "heads=2", "interaction_heads=2", "layers=1")
WIDTH = 6  # of the vectors of words


def write_event_data(root: Path, *, segments: int = 10) -> AveLike:
    """Write a data set of three classes with narrow maps, and ROOT/glove.txt, vectors of the words of its names."""
    clips = {"train": 12, "val": 6, "test": 6, "noisy": 3}
    data = write_ave_like(root, clips=clips, classes=3, visual_dim=4, segments=segments)
    rng = np.random.default_rng(0)
    words = (*(label.lower() for label in data.labels), "background")
    vectors = [" ".join(f"{value:.3f}" for value in rng.standard_normal(WIDTH)) for _ in words]
    lines = [f"{word} {vector}\n" for word, vector in zip(words, vectors, strict=True)]
    (root / "glove.txt").write_text("".join(lines), encoding="utf-8")
    return data


def event_data_options(data: AveLike) -> list[str]:
    """Return --annotations and --features."""
    return ["--annotations", str(data.annotations), "--features", str(data.features)]


def event_options(data: AveLike, *, cmbs: bool = True) -> list[str]:
    """Return the options of `avvp train` and `avvp reproduce table5` except --recipe and --output."""
    settings = (*SETTINGS, *(CMBS_SETTINGS if cmbs else ()))
    small = [part for setting in settings for part in ("--set", f"model.{setting}")]
    glove = str(data.annotations.parent / "glove.txt")
    return [*event_data_options(data), "--label-embeddings", glove, *small, "--device", "cpu"]
