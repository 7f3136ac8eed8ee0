"""Scores and the record that `avvp pseudo-label` leaves beside its labels, made from labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

THRESHOLDS = {"audio": 1.5, "visual": 20.0}  # of every class
_FOLDERS = {"audio": "CLAP", "visual": "CLIP"}


def write_scores(root: Path, classes: Sequence[str], *, missing: Sequence[str] = ()) -> None:
    """Write a score for every pseudo label in a folder: above its threshold where the label is active.

    Args:
        root: folder of pseudo labels.
        classes: their names.
        missing: clips that the record says have no picture.
    """
    rng = np.random.default_rng(0)
    for modality, teacher in _FOLDERS.items():
        folder = root / teacher / "scores"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((root / teacher / "segment_pseudo_labels").glob("*.npy")):
            labels = np.load(path)
            distance = rng.uniform(0.1, 4.0, labels.shape)
            scores = THRESHOLDS[modality] + np.where(labels > 0, distance, -distance)
            np.save(folder / path.name, scores.astype(np.float32))
    count = len(classes)
    prompts = {
        "labels": list(classes),
        "heard_threshold": [THRESHOLDS["audio"]] * count,
        "seen_threshold": [THRESHOLDS["visual"]] * count,
    }
    record = {"prompts": prompts, "without_stream": {"audio": [], "visual": list(missing)}}
    (root / "pseudo_labels.json").write_text(json.dumps(record))
