"""A generated data set in LLP's form: annotations, features and pseudo labels, made from segment labels.

Each class has a prototype in every stream; a second's features are the prototypes of what is heard or seen in it, with
noise. Events have onsets and offsets, overlap, and are heard, seen or both, at different times. The pseudo labels are
the truth with errors, inside each video's labels, as VALOR's are.

    python tests/support/llp_like.py FOLDER --train 400 --val 80 --test 120
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import SPLIT_FILES, read_annotations
from avvp.pipeline.datasets.pseudo_labels import write_pseudo_labels
from avvp.pipeline.datasets.write_annotations import write_annotations
from avvp.pipeline.timeline import SegmentLabels

SEGMENTS = 10
FRAMES = 8
EXTRACTORS = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
SMALL = (16, 32, 24)  # widths of the streams
_NOISE = 0.5
_WHOLE = 0.2  # share of events that last from beginning to end; in LLP it is higher
_MISSED, _INVENTED = 0.1, 0.1  # errors of the pseudo labels


@dataclass
class Truth:
    """Clips with segment labels, (N, T, C) each."""

    filenames: list[str]
    audio: np.ndarray
    visual: np.ndarray

    @property
    def video(self) -> np.ndarray:
        return np.asarray(self.audio.any(1) | self.visual.any(1))


@dataclass
class Recipe:
    """What to generate."""

    counts: dict[str, int]
    seed: int = 0
    dims: tuple[int, ...] = SMALL
    extractors: tuple[str, ...] = EXTRACTORS
    labels: tuple[str, ...] = LLP_LABELS
    segments: int = SEGMENTS
    llp: Path | None = None  # real annotations: their file names, and their labels where they have them


def generate(folder: Path, recipe: Recipe) -> dict[str, Truth]:
    """Write FOLDER/annotations, FOLDER/features and FOLDER/pseudo_labels; returns the truth of each split."""
    rng = np.random.default_rng(recipe.seed)
    prototypes = [
        np.maximum(rng.standard_normal((2, len(recipe.labels), width)), 0).astype(np.float32) for width in recipe.dims
    ]
    truths = {
        name: _real(name, count, recipe, rng) if recipe.llp else _invented(name, count, recipe, rng)
        for name, count in recipe.counts.items()
    }
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    splits = {
        name: {
            filename: SegmentLabels(audio, visual)
            for filename, audio, visual in zip(truth.filenames, truth.audio, truth.visual, strict=True)
        }
        for name, truth in truths.items()
    }
    write_annotations(folder / "annotations", recipe.labels, splits)
    for truth in truths.values():
        _write_features(folder / "features", truth, prototypes, recipe, rng)
    if "train" in truths:
        _write_pseudo_labels(folder / "pseudo_labels", truths["train"], rng)
    return truths


def _invented(name: str, count: int, recipe: Recipe, rng: np.random.Generator) -> Truth:
    shape = (count, recipe.segments, len(recipe.labels))
    names = [f"{name}{index:08d}"[-11:] + f"_{index}_{index + recipe.segments}" for index in range(count)]
    truth = Truth(names, *np.zeros((2, *shape), bool))
    for index in range(count):
        for label in rng.choice(shape[2], min(rng.integers(1, 4), shape[2]), replace=False, p=_popularity(shape[2])):
            _place(truth, index, label, rng)
    return truth


def _real(name: str, count: int, recipe: Recipe, rng: np.random.Generator) -> Truth:
    """The first clips of a real split that have these classes alone.

    Train has no segment labels, so events of its classes are placed.
    """
    assert recipe.llp is not None
    annotations = read_annotations(recipe.llp)
    split = annotations.split(name)
    wanted = [annotations.labels.index(label) for label in recipe.labels]
    audio, visual = (annotations.modality_labels(split, modality, recipe.segments) for modality in ("audio", "visual"))
    others = np.delete(split.labels | audio.any(1) | visual.any(1), wanted, axis=1).any(1)
    chosen = np.flatnonzero(~others)[:count]
    truth = Truth([split.filenames[index] for index in chosen], audio[chosen][..., wanted], visual[chosen][..., wanted])
    if name == "train":
        for index, label in zip(*np.nonzero(split.labels[chosen][:, wanted]), strict=True):
            _place(truth, index, label, rng)
    return truth


def _popularity(classes: int) -> np.ndarray:
    """Some classes are common, as Speech is in LLP."""
    weights = 1 / np.arange(1, classes + 1) ** 0.7
    return weights / weights.sum()


def _place(truth: Truth, clip: int, label: int, rng: np.random.Generator) -> None:
    """Add an event of the class: audio, visual, or both at independent times."""
    segments = truth.audio.shape[1]
    modality = rng.integers(3)
    for table, chosen in ((truth.audio, modality != 1), (truth.visual, modality != 0)):
        if chosen:
            whole = rng.random() < _WHOLE
            onset, offset = (0, segments) if whole else sorted(rng.choice(segments + 1, 2, replace=False))
            table[clip, onset:offset, label] = True


def _write_features(
    folder: Path, truth: Truth, prototypes: list[np.ndarray], recipe: Recipe, rng: np.random.Generator
) -> None:
    spec = {
        "profile": "clean", "profile_version": 1, "extractors": list(recipe.extractors), "dims": list(recipe.dims),
        "frames_per_segment": FRAMES, "sample_rate": 16000,
    }  # fmt: skip
    names = ["res152" if name == "resnet152" else name for name in recipe.extractors]
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps(spec), encoding="utf-8")
    for filename, audio, visual in zip(truth.filenames, truth.audio, truth.visual, strict=True):
        for name, table, vectors, rate in zip(names, (audio, visual, visual), prototypes, (1, FRAMES, 1), strict=True):
            active = np.repeat(table, rate, axis=0)
            noise = _NOISE * rng.standard_normal((len(active), vectors.shape[-1]), np.float32)
            rows = np.maximum(active @ vectors[0] + vectors[1][0] * 0.2 + noise, 0)  # non-negative, like real ones
            np.save(folder / name / f"{filename.rsplit('_', 2)[0]}.npy", rows.astype(np.float32))


def _write_pseudo_labels(folder: Path, truth: Truth, rng: np.random.Generator) -> None:
    for modality, table in (("audio", truth.audio), ("visual", truth.visual)):
        missed, invented = rng.random(table.shape) < _MISSED, rng.random(table.shape) < _INVENTED
        pseudo = (table & ~missed) | (invented & truth.video[:, None, :])
        for filename, labels in zip(truth.filenames, pseudo, strict=True):
            write_pseudo_labels(folder, modality, filename.rsplit("_", 2)[0], labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, count in (("train", 400), ("val", 80), ("test", 120)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts = {name: getattr(options, name) for name in SPLIT_FILES}
    generate(options.folder, Recipe(counts, seed=options.seed, labels=LLP_LABELS[: options.classes]))
    vectors = np.random.default_rng(options.seed).standard_normal((options.classes, 12))
    np.save(options.folder / "vectors.npy", vectors.astype(np.float32))


if __name__ == "__main__":
    main()
