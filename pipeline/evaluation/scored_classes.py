"""Which classes are scored, where timelines and annotations may spell them in different ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..datasets.annotations import Annotations, DatasetSplit
from ..errors import DatasetError
from ..open_vocabulary.vocabulary import normalized
from ..text import count_of, escape, first_few


def class_names(labels: Sequence[str], *, others: bool = False) -> Callable[[str], str | None]:
    """Make a function that finds the class of a list that a name means.

    Args:
        labels: class names.
        others: names of no class of the list give None; else themselves, for the reader to refuse.

    Returns:
        Name -> class: the same name, else one that differs in case, underscores and spaces only.
    """
    known = set(labels)
    alike = {normalized(label): label for label in reversed(labels)}

    def find(name: str) -> str | None:
        return name if name in known else alike.get(normalized(name), None if others else name)

    return find


def select_classes(annotations: Annotations, classes: Sequence[str] | None) -> tuple[Annotations, tuple[str, ...]]:
    """Keep some classes of annotations.

    Args:
        annotations: of a data set.
        classes: names of the classes, in any spelling that `class_names` finds; None for all.

    Returns:
        The annotations with these classes, in this order, and notes for the reader of scores. A class that the data
        set does not know has no events.

    Raises:
        DatasetError: the data set knows none of them.
    """
    if classes is None:
        return annotations, ()
    find = class_names(annotations.labels, others=True)
    labels = tuple(find(name) or name for name in classes)
    places = {label: index for index, label in enumerate(annotations.labels)}
    columns = {places[label]: index for index, label in enumerate(labels) if label in places}
    if not columns:
        raise DatasetError(
            f"none of the classes {first_few(labels)} is annotated in {escape(annotations.folder)},"
            f" whose classes are {first_few(annotations.labels)}"
        )
    unknown = [label for label in labels if label not in places]
    notes = [f"{count_of(unknown, 'class')} not annotated"] if unknown else []
    if len(columns) < len(places):
        notes.append(f"{len(columns)} of {len(places)} annotated classes are scored")
    events = {
        modality: tuple(row._replace(label=columns[row.label]) for row in rows if row.label in columns)
        for modality, rows in annotations.events.items()
    }
    spans = {
        name: tuple((onset, offset, columns[label]) for onset, offset, label in rows if label in columns)
        for name, rows in annotations.spans.items()
    }
    splits = {name: _select(split, columns, len(labels)) for name, split in annotations.splits.items()}
    return replace(annotations, labels=labels, splits=splits, events=events, spans=spans), tuple(notes)


def _select(split: DatasetSplit, columns: dict[int, int], count: int) -> DatasetSplit:
    labels = np.zeros((len(split), count), bool)
    labels[:, list(columns.values())] = split.labels[:, list(columns)]
    return replace(split, labels=labels)
