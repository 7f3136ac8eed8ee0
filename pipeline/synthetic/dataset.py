"""A generated data set: clips, annotations in LLP's form, pseudo labels with errors.

FOLDER/videos/<id>.mp4
FOLDER/annotations/     the files of `annotations`: weak labels for train, dense ones for val and test
FOLDER/pseudo_labels/   of train, as VALOR's: the truth with mistakes, inside each video's labels
FOLDER/synth.json       what it was made with
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..datasets.annotations import SPLIT_FILES, DenseClip, write_annotations
from ..datasets.pseudo_labels import write_pseudo_labels
from ..errors import OutputError, SetupError
from ..files import PART_PREFIX, exclusive_lock, write_atomic
from ..text import escape
from .clip_plan import ClipPlan, plan_clip
from .render import end_with_parent, render
from .user_sources import NO_SOURCES, Sources

CONFIG_FILE = "synth.json"
_VERSION = 1  # grows when the same parameters make other clips
_PLAN, _MISTAKES = 0, 3  # what a clip's seed is for; `render` has 1 and 2
_MISSED = _INVENTED = 0.1


@dataclass(frozen=True)
class SynthJob:
    """What to generate: clips of each split, seconds of each clip, everything else by the seed."""

    counts: dict[str, int]
    seed: int = 0
    seconds: int = 10
    sources: Sources = field(default=NO_SOURCES)

    def plans(self, split: str) -> list[ClipPlan]:
        """The clips of a split. A clip's content follows from the seed, the split and its number alone."""
        number = list(SPLIT_FILES).index(split)
        return [
            plan_clip(
                f"s{self.seed:04d}{number}{index:05d}",
                (self.seed, number, index, _PLAN),
                self.seconds,
                len(LLP_LABELS),
            )
            for index in range(self.counts.get(split, 0))
        ]


def write_dataset(
    folder: Path, job: SynthJob, *, workers: int, progress: Callable[[int, int], None] = lambda *_: None
) -> int:
    """Make what is missing of a data set; returns the number of clips that were rendered.

    Raises SetupError where the folder holds something else, OutputError where it cannot be written, MediaError for a
    source that cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder):
            return _write_dataset(folder, job, workers, progress)
    except OSError as error:
        raise OutputError(f"{escape(folder)}: cannot be written: {error.strerror or error}") from error


def _write_dataset(folder: Path, job: SynthJob, workers: int, progress: Callable[[int, int], None]) -> int:
    config = {"version": _VERSION, **asdict(job), "sources": job.sources.describe()}
    content = json.dumps(config, indent=1).encode() + b"\n"
    known = folder / CONFIG_FILE
    if known.exists() and known.read_bytes() != content:
        raise SetupError(f"{escape(folder)}: holds clips that were made with other settings; choose another folder")
    for name in ("videos", "annotations", "pseudo_labels"):
        place = folder / name
        if not known.exists() and place.exists() and any(place.iterdir()):
            raise SetupError(f"{escape(place)}: holds files that avvp synth has not made; choose another folder")
        place.mkdir(exist_ok=True)
    for left in (folder / "videos").glob(f"{PART_PREFIX}*.part"):
        left.unlink()
    write_atomic(known, content)
    plans = {split: job.plans(split) for split, count in job.counts.items() if count}
    missing = [plan for some in plans.values() for plan in some if not _place(folder, plan).exists()]
    for done, _ in enumerate(_render_all(folder, missing, job.sources, workers), 1):
        progress(done, len(missing))
    classes = len(LLP_LABELS)
    clips = {
        split: [
            DenseClip(f"{plan.name}_0_{plan.length}", plan.table("audio", classes), plan.table("visual", classes))
            for plan in some
        ]
        for split, some in plans.items()
    }
    write_annotations(folder / "annotations", LLP_LABELS, clips)
    for plan in plans.get("train", ()):
        for modality, labels in corrupt_labels(plan, classes).items():
            write_pseudo_labels(folder / "pseudo_labels", modality, plan.name, labels)
    return len(missing)


def corrupt_labels(plan: ClipPlan, classes: int) -> dict[str, NDArray[np.bool_]]:
    """What a teacher that errs in one second of ten would say, (T, C) for each modality."""
    rng = np.random.default_rng([*plan.seed, _MISTAKES])
    truth = {modality: plan.table(modality, classes) for modality in ("audio", "visual")}
    inside = (truth["audio"] | truth["visual"]).any(axis=0)
    return {
        modality: (table & (rng.random(table.shape) >= _MISSED)) | (inside & (rng.random(table.shape) < _INVENTED))
        for modality, table in truth.items()
    }


def _place(folder: Path, plan: ClipPlan) -> Path:
    return folder / "videos" / f"{plan.name}.mp4"


def _render_all(folder: Path, plans: list[ClipPlan], sources: Sources, workers: int) -> Iterator[None]:
    paths = [_place(folder, plan) for plan in plans]
    make = partial(render, labels=LLP_LABELS, sources=sources)
    if workers == 1 or len(plans) == 1:
        yield from map(make, plans, paths)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that hold locks
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(make, plans, paths)
