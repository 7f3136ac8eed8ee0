"""A generated data set in AVE's form: annotations and a packed store of features, made from planned events, no media.

Each class has a prototype of its sound and one of its sight. The sight stands at a place of the 7x7 map, with smooth
borders; other places, and seconds without events, hold a background and noise. As in `avvp synth --task avel`, a class
may be only heard or only seen outside its event, and objects of other classes stand elsewhere in the picture.

    python tests/support/ave_like.py FOLDER --train 200 --val 40 --test 60
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from avvp.extractors.profiles import FeatureSpec
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.ave_annotations import AVE_FILE, NOISY, NOISY_TEXT, TEXT_FILES
from avvp.pipeline.features.packed_store import ARRAY_FILE, INDEX_FILE, describe_store, write_header
from avvp.pipeline.synthetic.clip_plan import ClipPlan
from avvp.pipeline.synthetic.event_plan import find_event, plan_event_clip, plan_noisy_clip

SEGMENTS = 10
SIDE = 7  # of the maps
AUDIO_DIM = 128
SPLIT_FILES = {**TEXT_FILES, NOISY: NOISY_TEXT}
EXTRACTORS = ("vggish_small", "vgg19_small")
_NOISE = 0.5
_OTHERS = 4  # classes of noisy clips, which the data set has no name for


class AveLike(NamedTuple):
    """Where the data set is, and what is true in it."""

    annotations: Path  # folder
    features: Path  # packed store
    labels: tuple[str, ...]  # C class names, in the order of Annotations.txt
    truth: dict[str, np.ndarray]  # split -> (N, T) class of each second, C for background; clips sorted by class
    names: dict[str, tuple[str, ...]]  # split -> clips, in the same order


@dataclass(frozen=True)
class _Prototypes:
    audio: np.ndarray  # (classes, 128)
    visual: np.ndarray  # (classes, D)
    background: np.ndarray  # (D,)


def write_ave_like(
    root: Path,
    *,
    clips: Mapping[str, int],
    classes: int = 4,
    seed: int = 0,
    visual_dim: int = 16,
    segments: int = SEGMENTS,
    dtype: str = "float32",
) -> AveLike:
    """Write ROOT/annotations and ROOT/features.

    Args:
        root: folder to write to; created if it does not exist.
        clips: "train", "val", "test" or "noisy" -> number of clips.
        classes: C, at most 21; each split of at least C clips has all of them.
        seed: the same seed gives the same files.
        visual_dim: D, channels of the maps; 512 in AVE.
        segments: T, seconds of each clip.
        dtype: of the store, float32 or float16.

    Returns:
        The folders, and the truth.
    """
    assert 1 <= classes <= len(LLP_LABELS) - _OTHERS
    plans = {
        split: sorted((_plan(split, number, classes, seed, segments) for number in range(count)), key=_event_label)
        for split, count in clips.items()
    }
    rng = np.random.default_rng([seed, classes])
    vectors = [np.maximum(rng.standard_normal((classes + _OTHERS, width)), 0) for width in (AUDIO_DIM, visual_dim)]
    prototypes = _Prototypes(*vectors, background=np.maximum(rng.standard_normal(visual_dim), 0) / 2)
    labels = LLP_LABELS[:classes]
    root.mkdir(parents=True, exist_ok=True)
    _write_annotations(root / "annotations", plans, labels)
    _write_store(root / "features", [plan for split in plans.values() for plan in split], prototypes, dtype)
    truth = {split: np.stack([_truth(plan, classes) for plan in part]) for split, part in plans.items() if part}
    names = {split: tuple(plan.name for plan in part) for split, part in plans.items()}
    return AveLike(root / "annotations", root / "features", labels, truth, names)


def _plan(split: str, number: int, classes: int, seed: int, segments: int) -> ClipPlan:
    place = list(SPLIT_FILES).index(split)
    name, key = f"a{seed:04d}{place}{number:05d}", (seed, place, number)
    if split == NOISY:
        return plan_noisy_clip(name, key, segments, range(classes, classes + _OTHERS))
    return plan_event_clip(name, key, segments, number % classes, range(classes))


def _event_label(plan: ClipPlan) -> int:
    event = find_event(plan)
    return -1 if event is None else event.label


def _truth(plan: ClipPlan, classes: int) -> np.ndarray:
    """(T,) class of each second, C for background."""
    seconds = np.full(plan.length, classes)
    event = find_event(plan)
    if event is not None and event.label < classes:  # those of noisy clips are of no class
        seconds[event.onset : event.offset] = event.label
    return seconds


def _write_annotations(folder: Path, plans: Mapping[str, list[ClipPlan]], labels: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    rows: list[str] = []
    for split, part in plans.items():
        lines = []
        for plan in part:
            event = find_event(plan)
            if split == NOISY:
                lines.append(plan.name)
            elif event is not None:
                lines.append(f"{labels[event.label]}&{plan.name}&good&{event.onset}&{event.offset}")
        (folder / SPLIT_FILES[split]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        rows += [] if split == NOISY else lines
    rows.sort(key=lambda row: labels.index(row.split("&")[0]))
    header = "Category&VideoID&Quality&StartTime&EndTime"
    (folder / AVE_FILE).write_text("".join(f"{row}\n" for row in [header, *rows]), encoding="utf-8")


def _write_store(folder: Path, plans: list[ClipPlan], prototypes: _Prototypes, dtype: str) -> None:
    folder.mkdir(exist_ok=True)
    dims = (AUDIO_DIM, SIDE * SIDE * prototypes.visual.shape[1])
    spec = FeatureSpec("ave", 1, EXTRACTORS, dims, frames_per_segment=16, streams=("audio", "visual_map"))
    lengths = {plan.name: plan.length for plan in plans}
    with (folder / ARRAY_FILE).open("wb") as file:
        write_header(file, dtype, sum(lengths.values()), sum(spec.dims))
        for plan in plans:
            rows = np.concatenate(_make_features(plan, prototypes), axis=1)
            file.write(rows.astype(dtype).tobytes())
    (folder / INDEX_FILE).write_bytes(describe_store(spec, lengths, ARRAY_FILE))


def _make_features(plan: ClipPlan, prototypes: _Prototypes) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, 128) of the sound and (T, 49 D) of the pictures; no value is negative, as those of the networks."""
    rng = np.random.default_rng([*plan.seed, 1])
    audio = _NOISE * rng.standard_normal((plan.length, AUDIO_DIM))
    for event in plan.audio:
        audio[event.onset : event.offset] += prototypes.audio[event.label]
    maps = _NOISE * rng.standard_normal((plan.length, SIDE, SIDE, len(prototypes.background))) + prototypes.background
    places = rng.permutation(4)  # quarters of the picture; at most three objects are visible at once
    for number, event in enumerate(plan.visual):
        row, column = 1 + 4 * np.array(divmod(places[number % 4], 2))
        grid = np.mgrid[:SIDE, :SIDE]
        blob = np.exp(-((grid[0] - row) ** 2 + (grid[1] - column) ** 2) / 1.5)
        maps[event.onset : event.offset] += 2 * blob[..., None] * prototypes.visual[event.label]
    return np.maximum(audio, 0), np.maximum(maps, 0).reshape(plan.length, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, count in (("train", 200), ("val", 40), ("test", 60), ("noisy", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    for name, value in (("classes", 8), ("seed", 0), ("visual-dim", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    clips = {name: getattr(options, name) for name in SPLIT_FILES if getattr(options, name)}
    write_ave_like(
        options.folder, clips=clips, classes=options.classes, seed=options.seed, visual_dim=options.visual_dim
    )


if __name__ == "__main__":
    main()
