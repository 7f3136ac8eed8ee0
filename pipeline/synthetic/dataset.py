"""Generate a dataset: clips, annotations in LLP's format, pseudo labels with errors.

FOLDER/videos/<id>.mp4
FOLDER/annotations/     as `annotations` describes: video labels of train, segment labels of val and test
FOLDER/pseudo_labels/   of train, in VALOR's format: the ground truth with errors, within each video's labels
FOLDER/synth.json       the settings of the dataset
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
from ...weights.unicode import TextError, read_bytes
from ..datasets.annotations import SPLIT_FILES
from ..datasets.pseudo_labels import write_pseudo_labels
from ..datasets.write_annotations import write_annotations
from ..durable import PART_PREFIX
from ..errors import OutputError, SetupError
from ..files import exclusive_lock, write_atomic
from ..text import escape
from .clip_plan import ClipPlan, plan_clip
from .render import end_with_parent, render
from .user_sources import NO_SOURCES, Sources

CONFIG_FILE = "synth.json"
_VERSION = 1  # increases when the same settings give other clips
_PLAN_SEED, _ERROR_SEED = 0, 3  # appended to a clip's seed; `render` has 1 and 2
_MISS_RATE = _FALSE_ALARM_RATE = 0.1


@dataclass(frozen=True)
class SynthJob:
    """Settings of a generated dataset. All of them decide the content; `CONFIG_FILE` records them."""

    counts: dict[str, int]  # split -> number of clips
    seed: int = 0
    seconds: int = 10  # length of each clip
    sources: Sources = field(default=NO_SOURCES)  # user files that replace generated content

    def plans(self, split: str) -> list[ClipPlan]:
        """Plan the clips of a split. The content of a clip depends only on the seed, the split and its number."""
        split_number = list(SPLIT_FILES).index(split)
        return [
            plan_clip(
                f"s{self.seed:04d}{split_number}{index:05d}",
                (self.seed, split_number, index, _PLAN_SEED),
                self.seconds,
                len(LLP_LABELS),
            )
            for index in range(self.counts.get(split, 0))
        ]


def write_dataset(
    folder: Path, job: SynthJob, *, workers: int, progress: Callable[[int, int], None] = lambda *_: None
) -> int:
    """Write a dataset to a folder. Clips that exist are kept, so a run that was interrupted resumes.

    Args:
        folder: created if it does not exist.
        job: settings of the dataset.
        workers: number of processes that render clips.
        progress: called with rendered and missing clips after each clip; by default not at all.

    Returns:
        The number of clips that were rendered.

    Raises:
        SetupError: the folder holds other files, or clips of other settings.
        OutputError: the folder cannot be written.
        MediaError: a source file cannot be read.
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
    config_path = folder / CONFIG_FILE
    if config_path.exists() and not _holds(config_path, content):
        raise SetupError(f"{escape(folder)}: holds clips that were made with other settings; choose another folder")
    for name in ("videos", "annotations", "pseudo_labels"):
        subfolder = folder / name
        if not config_path.exists() and subfolder.exists() and any(subfolder.iterdir()):
            raise SetupError(f"{escape(subfolder)}: holds files that avvp synth has not made; choose another folder")
        subfolder.mkdir(exist_ok=True)
    for temporary in (folder / "videos").glob(f"{PART_PREFIX}*.part"):
        temporary.unlink()
    write_atomic(config_path, content)
    plans = {split: job.plans(split) for split, count in job.counts.items() if count}
    missing = [plan for split in plans.values() for plan in split if not _clip_path(folder, plan).exists()]
    for done, _ in enumerate(_render_all(folder, missing, job.sources, workers), 1):
        progress(done, len(missing))
    classes = len(LLP_LABELS)
    clips = {
        split: {f"{plan.name}_0_{plan.length}": plan.segment_labels(classes) for plan in split_plans}
        for split, split_plans in plans.items()
    }
    write_annotations(folder / "annotations", LLP_LABELS, clips)
    for plan in plans.get("train", ()):
        for modality, labels in corrupt_labels(plan, classes).items():
            write_pseudo_labels(folder / "pseudo_labels", modality, plan.name, labels)
    return len(missing)


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content; no more of it is read."""
    try:
        return read_bytes(path, limit=len(content)) == content
    except TextError:
        return False


def corrupt_labels(plan: ClipPlan, classes: int) -> dict[str, NDArray[np.bool_]]:
    """Simulate the pseudo labels of a teacher that is wrong in one second of ten.

    Args:
        plan: the clip.
        classes: C.

    Returns:
        "audio" and "visual" -> (T, C) bool; only classes that occur in the clip are ever True.
    """
    rng = np.random.default_rng([*plan.seed, _ERROR_SEED])
    truth = plan.segment_labels(classes)
    video_labels = (truth.audio | truth.visual).any(axis=0)
    return {
        modality: (labels & (rng.random(labels.shape) >= _MISS_RATE))
        | (video_labels & (rng.random(labels.shape) < _FALSE_ALARM_RATE))
        for modality, labels in zip(("audio", "visual"), truth, strict=True)
    }


def _clip_path(folder: Path, plan: ClipPlan) -> Path:
    return folder / "videos" / f"{plan.name}.mp4"


def _render_all(folder: Path, plans: list[ClipPlan], sources: Sources, workers: int) -> Iterator[None]:
    paths = [_clip_path(folder, plan) for plan in plans]
    render_clip = partial(render, labels=LLP_LABELS, sources=sources)
    if workers == 1 or len(plans) == 1:
        yield from map(render_clip, plans, paths)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that hold locks
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(render_clip, plans, paths)
