"""Write timelines, e.g. ones corrected by hand, as a data set for training and scoring."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ...models.labels import LLP_LABELS
from ..errors import SetupError
from ..files import make_folder
from ..text import escape
from ..timeline import Timeline
from .annotation_cells import label_name_error, usable_clip_name
from .annotations import LABEL_FILE, SPLIT_FILES, read_annotations, read_labels
from .ave_annotations import AVE_FILE
from .clip_names import clip_id
from .pseudo_labels import write_pseudo_labels
from .write_annotations import write_annotations

PSEUDO_LABELS = "pseudo_labels"
MAX_CELLS = 1 << 26  # seconds x classes of all clips of a split, a byte each and modality


def write_data_set(
    folder: Path,
    timelines: Mapping[str, Timeline],
    split: str,
    *,
    seconds: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write the annotations of one split.

    For val and test these are events in whole seconds; for train, the classes of each clip and pseudo labels below
    `pseudo_labels/`. A second is active where events of the class cover at least half of it.

    Args:
        folder: a new or existing data set.
        timelines: clip name -> its events.
        split: "train", "val" or "test".
        seconds: length of the clips whose timelines do not state it; needed for train.
        overwrite: replace the split if the folder already has it.

    Raises:
        SetupError: the split exists, one of its clips is in another split, the data set has other classes, the files
            cannot hold a name, or a clip's length is unknown.
        OutputError: a file cannot be written.
    """
    _check_split(folder, timelines, split, overwrite=overwrite)
    labels = _dataset_labels(folder, timelines.values())
    _check_names(timelines, labels)
    if split == "train" and seconds is None:
        for name, timeline in timelines.items():
            if not timeline.length_known:
                raise SetupError(f"{escape(name)}: the length of the clip is unknown; set it with --seconds")
    cells = len(labels) * sum(seconds if seconds and not t.length_known else t.length for t in timelines.values())
    if cells > MAX_CELLS:
        raise SetupError(
            f"{len(timelines):,} clips of {len(labels):,} classes have {cells:,} labels per second, more than"
            f" {MAX_CELLS:,}; write fewer clips or classes at a time"
        )
    make_folder(folder)
    clips = {
        name: timeline.per_second_labels(labels, None if timeline.length_known else seconds)
        for name, timeline in timelines.items()
    }
    write_annotations(folder, labels, {split: clips})
    if split == "train":
        for name, clip in clips.items():
            for file in {name, clip_id(name)}:  # features may be named either way, too
                for modality in ("audio", "visual"):
                    write_pseudo_labels(folder / PSEUDO_LABELS, modality, file, clip.of(modality))


def _check_split(folder: Path, clips: Mapping[str, Timeline], split: str, *, overwrite: bool) -> None:
    if (folder / AVE_FILE).exists():
        raise SetupError(f"{escape(folder)}: holds a data set in AVE's form ({AVE_FILE}); use another folder")
    if (folder / SPLIT_FILES[split]).exists() and not overwrite:
        raise SetupError(f"{escape(folder / SPLIT_FILES[split])}: already exists; --overwrite replaces it")
    if split != "train" and any((folder / SPLIT_FILES[other]).exists() for other in {"val", "test"} - {split}):
        raise SetupError(f"{escape(folder)}: val and test would share their event files; use another folder")
    if not _has_splits(folder):
        return
    splits = read_annotations(folder).splits.values()
    other_clips = {clip for other in splits if other.name != split for clip in other.filenames}
    if shared := other_clips & clips.keys():
        raise SetupError(f"{escape(min(shared))}: already in another split; a clip must be in one split only")


def _dataset_labels(folder: Path, timelines: Collection[Timeline]) -> tuple[str, ...]:
    """Return the classes of an existing data set, or choose those of a new one."""
    if not _has_splits(folder):
        return common_labels(timelines)
    labels = read_labels(folder / LABEL_FILE) if (folder / LABEL_FILE).exists() else LLP_LABELS
    if unknown := {label for timeline in timelines for label in timeline.labels}.difference(labels):
        raise SetupError(f"{escape(folder)}: the data set has no class {escape(min(unknown))}; use another folder")
    return labels


def _has_splits(folder: Path) -> bool:
    return any((folder / file).exists() for file in SPLIT_FILES.values())


def _check_names(timelines: Iterable[str], labels: Iterable[str]) -> None:
    """Raise SetupError for names that do not fit into tables with tabs and commas as separators."""
    for label in labels:
        if fault := label_name_error(label):
            raise SetupError(f"a class of a data set cannot be named {label!r}: {fault}")
    for name in timelines:
        if not usable_clip_name(name) or "/" in name or not name.isprintable():
            raise SetupError(
                f"a clip of a data set cannot be named {name!r}: it must be printable UTF-8 without slashes"
            )


def common_labels(timelines: Iterable[Timeline]) -> tuple[str, ...]:
    """Return the classes of a data set made of these timelines.

    Args:
        timelines: of its clips.

    Returns:
        LLP's classes if no timeline has others, else the classes of all timelines in order of appearance.
    """
    labels = tuple(dict.fromkeys(label for timeline in timelines for label in timeline.labels))
    return LLP_LABELS if set(labels) <= set(LLP_LABELS) else labels
