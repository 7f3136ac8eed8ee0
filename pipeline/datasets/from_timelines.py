"""Timelines, corrected by people say, as a data set that parsers are trained on and scored by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...models.labels import LLP_LABELS
from ..errors import SetupError
from ..files import make_folder
from ..text import escape
from ..timeline import Timeline
from .annotations import (
    LABEL_FILE,
    SPLIT_FILES,
    DatasetSplit,
    label_name_error,
    read_annotations,
    read_labels,
    usable_clip_name,
    write_annotations,
)
from .clips import clip_id
from .pseudo_labels import write_pseudo_labels

PSEUDO_LABELS = "pseudo_labels"


def write_data_set(
    folder: Path,
    timelines: Mapping[str, Timeline],
    split: str,
    *,
    seconds: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write the annotations of a split of these clips: for val and test the events by second, for train the classes of
    each clip, and its seconds as pseudo labels below `pseudo_labels/`.

    timelines: clip -> its events; a second is active where events cover half of it. seconds: of clips whose timelines
    do not know their length. Raises SetupError where the folder holds the split already, one of the clips in another,
    or other classes; for names that the files cannot hold; for train, where nobody knows a clip's length. OutputError.
    """
    if (folder / SPLIT_FILES[split]).exists() and not overwrite:
        raise SetupError(f"{escape(folder / SPLIT_FILES[split])}: is there already; --overwrite replaces it")
    if split != "train" and any((folder / SPLIT_FILES[other]).exists() for other in {"val", "test"} - {split}):
        raise SetupError(f"{escape(folder)}: val and test share their files of events; use another folder")
    known_clips = {clip for other in _splits(folder).values() if other.name != split for clip in other.filenames}
    if shared := known_clips & timelines.keys():
        raise SetupError(f"{escape(min(shared))}: is in another split already; what is scored must not be trained on")
    labels = common_labels(timelines.values())
    if any((folder / file).exists() for file in SPLIT_FILES.values()):
        known = read_labels(folder / LABEL_FILE) if (folder / LABEL_FILE).exists() else LLP_LABELS
        if foreign := {label for timeline in timelines.values() for label in timeline.labels}.difference(known):
            raise SetupError(f"{escape(folder)}: is a data set of classes without {escape(min(foreign))}")
        labels = known
    _check_names(timelines, labels)
    if split == "train" and seconds is None and (lost := [n for n, one in timelines.items() if not one.length_known]):
        raise SetupError(f"{escape(lost[0])}: how long is the clip? its file does not say; --seconds does")
    make_folder(folder)
    clips = {
        name: timeline.per_second_labels(labels, None if timeline.length_known else seconds)
        for name, timeline in timelines.items()
    }
    write_annotations(folder, labels, {split: clips})
    if split == "train":
        for name, clip in clips.items():
            for file in {name, clip_id(name)}:  # features, too, go by either
                for modality in ("audio", "visual"):
                    write_pseudo_labels(folder / PSEUDO_LABELS, modality, file, clip.of(modality))


def _check_names(timelines: Iterable[str], labels: Iterable[str]) -> None:
    """Tables between tabs, with classes between commas, cannot hold every name."""
    for label in labels:
        if fault := label_name_error(label):
            raise SetupError(f"a class of a data set cannot be called {label!r}: {fault}")
    for name in timelines:
        if not usable_clip_name(name) or "/" in name or not name.isprintable():
            raise SetupError(f"a clip of a data set cannot be called {name!r}; it needs a plain name")


def _splits(folder: Path) -> Mapping[str, DatasetSplit]:
    there = any((folder / file).exists() for file in SPLIT_FILES.values())
    return read_annotations(folder).splits if there else {}


def common_labels(timelines: Iterable[Timeline]) -> tuple[str, ...]:
    """LLP's classes where no timeline has others, else those of all, in the order in which they come up."""
    found = tuple(dict.fromkeys(label for timeline in timelines for label in timeline.labels))
    return LLP_LABELS if set(found) <= set(LLP_LABELS) else found
