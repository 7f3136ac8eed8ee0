"""Small data for `avvp train`, and what tests of its folder share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.llp_like import Recipe, generate

LABELS = ("Speech", "Dog", "Car")
SMALL = (
    "--set", "model.hidden_dim=16", "--set", "model.feedforward_dim=16", "--set", "model.heads=2",
    "--set", "model.leap_heads=2", "--set", "model.levels=2", "--batch-size", "8", "--device", "cpu",
)  # fmt: skip


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


def write_data(root: Path) -> Path:
    """Write a data set of 20 training clips with narrow features."""
    generate(root, Recipe({"train": 20, "val": 6, "test": 6}, labels=LABELS, dims=(3, 5, 4)))
    np.save(root / "vectors.npy", np.random.default_rng(0).standard_normal((len(LABELS), 6)).astype("f4"))
    return root


def train_options(data: Path) -> list[str]:
    """Return the arguments of `avvp train` except --output."""
    folders = {"annotations": "annotations", "features": "features", "pseudo-labels": "pseudo_labels"}
    options = [part for flag, folder in folders.items() for part in (f"--{flag}", str(data / folder))]
    return ["train", *options, "--label-embeddings", str(data / "vectors.npy"), *SMALL]


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Return everything in a folder: path -> content of a file, target of a link, "" for a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }
