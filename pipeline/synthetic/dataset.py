"""Generate a data set: clips, and the exact labels of a task; `parsing_set` and `localization_set` have the files.

FOLDER/videos/<id>.mp4  of avel AVE/<id>.mp4
FOLDER/synth.json       the settings of the data set
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...models.labels import LLP_LABELS
from ...weights.unicode import TextError, read_bytes
from ..datasets.ave_annotations import AVE_FILE
from ..durable import PART_PREFIX
from ..errors import OutputError, SetupError
from ..files import exclusive_lock, write_atomic
from ..text import escape
from .clip_plan import ClipPlan, plan_clip
from .localization_set import SET_FILES, TRUTH, plan_localization_clip, write_localization_labels
from .parsing_set import ANNOTATIONS, PSEUDO_LABELS, write_parsing_labels
from .render import end_with_parent, render
from .user_sources import NO_SOURCES, Sources

CONFIG_FILE = "synth.json"
_VERSION = 1  # increases when the same settings give other clips
_PLAN_SEED = 0  # appended to a clip's seed; `render` has 1 and 2, `parsing_set` 3
_PLAN_ORDER = ("train", "val", "test", "noisy")  # numbers of the splits in seeds and names


@dataclass(frozen=True)
class SetForm:
    """How the data set of a task is planned and written."""

    splits: tuple[str, ...]
    videos: str  # folder of the clips
    folders: tuple[str, ...]  # others that `write_labels` writes to
    files: tuple[str, ...]  # that it writes beside them
    plan: Callable[[str, int, str, Sequence[int], int], ClipPlan]  # split, number, name, seed and length -> clip
    write_labels: Callable[[Path, Mapping[str, Sequence[ClipPlan]]], None]


FORMS = {
    "avvp": SetForm(
        splits=("train", "val", "test"),
        videos="videos",
        folders=(ANNOTATIONS, PSEUDO_LABELS),
        files=(),
        plan=lambda _split, _number, name, seed, length: plan_clip(name, seed, length, len(LLP_LABELS)),
        write_labels=write_parsing_labels,
    ),
    "avel": SetForm(
        splits=tuple(SET_FILES),
        videos="AVE",
        folders=(TRUTH,),
        files=(AVE_FILE, *SET_FILES.values()),
        plan=plan_localization_clip,
        write_labels=write_localization_labels,
    ),
}


@dataclass(frozen=True)
class SynthJob:
    """Settings of a generated data set. All of them decide the content; `CONFIG_FILE` records them."""

    counts: dict[str, int]  # split -> number of clips
    seed: int = 0
    seconds: int = 10  # length of each clip
    sources: Sources = field(default=NO_SOURCES)  # user files that replace generated content
    task: str = "avvp"  # key of `FORMS`

    @property
    def form(self) -> SetForm:
        """How the data set of the task is planned and written."""
        return FORMS[self.task]

    def plans(self, split: str) -> list[ClipPlan]:
        """Plan the clips of a split. The content of a clip depends only on the seed, the split and its number."""
        place = _PLAN_ORDER.index(split)
        return [
            self.form.plan(
                split,
                number,
                f"s{self.seed:04d}{place}{number:05d}",
                (self.seed, place, number, _PLAN_SEED),
                self.seconds,
            )
            for number in range(self.counts.get(split, 0))
        ]

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON-ready values. Those of avvp have no task: older versions knew no other."""
        settings = {"version": _VERSION, **asdict(self), "sources": self.sources.describe()}
        if self.task == "avvp":
            del settings["task"]
        return settings


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
    content = json.dumps(job.describe(), indent=1).encode() + b"\n"
    config_path = folder / CONFIG_FILE
    if config_path.exists() and not _holds(config_path, content):
        raise SetupError(f"{escape(folder)}: holds clips that were made with other settings; choose another folder")
    folders = [folder / name for name in (job.form.videos, *job.form.folders)]
    for path in (*folders, *(folder / name for name in job.form.files)):
        if not config_path.exists() and _is_used(path):
            raise SetupError(f"{escape(path)}: holds files that avvp synth has not made; choose another folder")
    for path in folders:
        path.mkdir(exist_ok=True)
    videos = folders[0]
    for temporary in videos.glob(f"{PART_PREFIX}*.part"):
        temporary.unlink()
    write_atomic(config_path, content)
    plans = {split: job.plans(split) for split, count in job.counts.items() if count}
    paths = {videos / f"{plan.name}.mp4": plan for split in plans.values() for plan in split}
    missing = {path: plan for path, plan in paths.items() if not path.exists()}
    for done, _ in enumerate(_render_all(missing, job.sources, workers), 1):
        progress(done, len(missing))
    job.form.write_labels(folder, plans)
    return len(missing)


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content; no more of it is read."""
    try:
        return read_bytes(path, limit=len(content)) == content
    except TextError:
        return False


def _is_used(path: Path) -> bool:
    """Return whether there is a folder that is not empty, or something else."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _render_all(clips: Mapping[Path, ClipPlan], sources: Sources, workers: int) -> Iterator[None]:
    render_clip = partial(render, labels=LLP_LABELS, sources=sources)
    if workers == 1 or len(clips) == 1:
        yield from map(render_clip, clips.values(), clips)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that hold locks
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(render_clip, clips.values(), clips)
