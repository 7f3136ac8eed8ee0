"""Inputs of the goldens of Table 4's other systems, see golden/README-zoo.md."""

from __future__ import annotations

import numpy as np
import torch

from support.golden import fill, load_json


def zoo_state(family: str, key: str = "state_dict") -> dict[str, torch.Tensor]:
    """A published file of a family, filled by key name."""
    return fill({name: tuple(shape) for name, shape in load_json(f"{family}_official.json")[key].items()})


def zoo_features(seed: int, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Audio (B, 10, 128), visual (B, 80, 2048), visual 3-d (B, 10, 512)."""
    rng = np.random.default_rng(seed)
    audio = np.maximum(rng.standard_normal((batch, 10, 128)), 0).astype("f4") * np.float32(0.4)
    visual = np.abs(rng.standard_normal((batch, 80, 2048))).astype("f4") * np.float32(0.5)
    clips = np.abs(rng.standard_normal((batch, 10, 512))).astype("f4")
    return torch.from_numpy(audio), torch.from_numpy(visual), torch.from_numpy(clips)


def zoo_labels(seed: int, batch: int, share: float) -> torch.Tensor:
    """Video labels (B, 25)."""
    labels = np.random.default_rng(seed).random((batch, 25)) < share
    labels[np.arange(batch), np.arange(batch) % 25] = True
    return torch.from_numpy(labels).float()


def zoo_crowded(seed: int, batch: int) -> torch.Tensor:
    """Video labels (B, 25) of three classes that most videos have."""
    labels = np.zeros((batch, 25), bool)
    labels[:, (0, 9, 24)] = np.random.default_rng(seed).random((batch, 3)) < 0.6
    labels[~labels.any(axis=1), 0] = True
    return torch.from_numpy(labels).float()
