"""A generated set with labels per second of all splits, in the form of UnAV-100, and features of CLAP and CLIP.

Each class has a direction in the space of each modality; a second's features are the sum of the directions of what
happens in it, with noise, scaled to length 1. The text features of a class are its directions.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from avvp.pipeline.datasets.text_features import write_text_features

CLASSES = ("dog barking", "skiing", "man speaking")
WIDTHS = (12, 16)  # of CLAP's and CLIP's features
NETWORK = ("model.hidden_dim=16", "model.feedforward_dim=24", "model.layers=1", "model.heads=2")
SETTINGS = tuple(part for change in NETWORK for part in ("--set", change))
_NOISE = 0.2


def write_dense_data(folder: Path, *, train: int = 24, val: int = 8, seed: int = 0) -> Path:
    """Write FOLDER/unav.json, FOLDER/features and FOLDER/text_features.safetensors; returns the folder."""
    rng = np.random.default_rng(seed)
    directions = [np.linalg.qr(rng.standard_normal((width, width)))[0][: len(CLASSES)] for width in WIDTHS]
    database = {}
    for split, count in (("train", train), ("validation", val)):
        for index in range(count):
            seconds = int(rng.integers(4, 9))
            active = np.zeros((seconds, len(CLASSES)))
            events = []
            for label in rng.choice(len(CLASSES), rng.integers(1, 3), replace=False).tolist():
                onset = int(rng.integers(0, seconds - 1))
                offset = int(rng.integers(onset + 1, seconds + 1))
                active[onset:offset, label] = 1
                events.append({"segment": [onset, offset - 0.5], "label": CLASSES[label], "label_id": label})
            name = f"{split}{index:03d}"
            database[name] = {"duration": seconds - 0.25, "subset": split, "annotations": events}
            for teacher, axes in zip(("CLAP", "CLIP"), directions, strict=True):
                rows = active @ axes + _NOISE * rng.standard_normal((seconds, axes.shape[1]))
                place = folder / "features" / teacher / "features"
                place.mkdir(parents=True, exist_ok=True)
                np.save(place / f"{name}.npy", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    (folder / "unav.json").write_text(json.dumps({"version": "x", "database": database}))
    audio, visual = (torch.from_numpy(axes.copy()) for axes in directions)
    write_text_features(folder / "text_features.safetensors", CLASSES, audio, visual)
    return folder
