"""Files of a generated data set for audio-visual event localization, in AVE's form.

FOLDER/Annotations.txt       class&clip&good&onset&offset: the event of each clip, sorted by class
FOLDER/trainSet.txt          the rows of a split, also valSet.txt and testSet.txt
FOLDER/noisySet.txt          names of clips without an event of these classes, for weak training
FOLDER/heard_and_seen/       everything that is heard or seen, event or not, per second: all splits, in LLP's form
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...models.labels import LLP_LABELS
from ..datasets.annotations import EVENT_FILES
from ..datasets.ave_annotations import AVE_FILE, NOISY, NOISY_TEXT, TEXT_FILES
from ..datasets.write_annotations import format_events, write_annotations
from ..files import write_atomic
from ..timeline import SegmentLabels
from .clip_plan import ClipPlan
from .event_plan import find_event, plan_event_clip, plan_noisy_clip

EVENT_LABELS = (  # classes that AVE has too, most of them under other names
    "Helicopter",
    "Motorcycle",
    "Violin_fiddle",
    "Acoustic_guitar",
    "Frying_(food)",
    "Dog",
    "Cat",
    "Baby_cry_infant_cry",
)
SET_FILES = {**TEXT_FILES, NOISY: NOISY_TEXT}
TRUTH = "heard_and_seen"
_CLASSES = tuple(map(LLP_LABELS.index, EVENT_LABELS))
_OTHER_CLASSES = tuple(index for index in range(len(LLP_LABELS)) if index not in _CLASSES)
_HEADER = "Category&VideoID&Quality&StartTime&EndTime"


def plan_localization_clip(split: str, number: int, name: str, seed: Sequence[int], length: int) -> ClipPlan:
    """Plan a clip of a split. The classes of the events take turns, so that in each split all are equally common.

    Args:
        split: key of `SET_FILES`.
        number: of the clip in its split, from 0.
        name: of the clip.
        seed: the same seed gives the same plan.
        length: T, in seconds.

    Returns:
        The plan; labels are indices of `LLP_LABELS`.
    """
    if split == NOISY:
        return plan_noisy_clip(name, seed, length, _OTHER_CLASSES)
    return plan_event_clip(name, seed, length, _CLASSES[number % len(_CLASSES)], _CLASSES)


def write_localization_labels(folder: Path, plans: Mapping[str, Sequence[ClipPlan]]) -> None:
    """Write the annotations of all splits.

    Args:
        folder: of the data set.
        plans: split name -> clips.

    Raises:
        OutputError: a file cannot be written.
    """
    rows = {split: _event_rows(part) for split, part in plans.items() if split != NOISY}
    for split, lines in rows.items():
        _write_lines(folder / SET_FILES[split], lines)
    _write_lines(folder / AVE_FILE, [_HEADER, *_sort_by_class(row for lines in rows.values() for row in lines)])
    if NOISY in plans:
        _write_lines(folder / SET_FILES[NOISY], [plan.name for plan in plans[NOISY]])
    truth = {split: {plan.name: _own_classes(plan) for plan in part} for split, part in plans.items() if split != NOISY}
    write_annotations(folder / TRUTH, EVENT_LABELS, truth)
    for modality, file in EVENT_FILES.items():  # `write_annotations` leaves out those of train, as LLP does
        tables = {name: labels.of(modality) for part in truth.values() for name, labels in part.items()}
        write_atomic(folder / TRUTH / file, format_events(tables, EVENT_LABELS).encode())


def _event_rows(plans: Sequence[ClipPlan]) -> list[str]:
    rows = []
    for plan in plans:
        event = find_event(plan)
        assert event is not None, plan.name
        rows.append(f"{LLP_LABELS[event.label]}&{plan.name}&good&{event.onset}&{event.offset}")
    return rows


def _sort_by_class(rows: Iterable[str]) -> list[str]:
    """Sort rows as AVE's are; the classes of a data set are numbered in this order."""
    return sorted(rows, key=lambda row: EVENT_LABELS.index(row.partition("&")[0]))


def _own_classes(plan: ClipPlan) -> SegmentLabels:
    """(T, C) of the classes that have events."""
    return SegmentLabels(*(labels[:, _CLASSES] for labels in plan.segment_labels(len(LLP_LABELS))))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode())
