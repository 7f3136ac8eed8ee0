"""Clips whose annotations say for each second what is heard and what is seen, also those of train."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..features.npy_folders import FeatureSource
from ..text import escape
from .annotations import Annotations, DatasetSplit
from .clips import SplitDataset, annotated_labels, find_features

_TOLERANCE = 1  # seconds between the annotated duration of a clip and its features


def load_dense_clips(annotations: Annotations, split: str, features: FeatureSource) -> SplitDataset:
    """Load a split with annotated labels per second.

    Args:
        annotations: of the data set, in any form. Those in LLP's form have events of train, too.
        split: "train", "val" or "test".
        features: of all clips of the split, a row for each second. What is annotated past their end is cut.

    Returns:
        The clips, with labels; their features are read by `SplitDataset.batch`.

    Raises:
        DatasetError: features are missing, have the wrong shape or another number of seconds than is annotated; or a
            clip has classes, but no events with times. The message lists all of them.
    """
    annotated = annotations.split(split)
    ids, lengths = find_features(annotated, features, annotations.videos)
    problems = [*_unlabelled(annotations, annotated), *_of_other_lengths(annotations, annotated, lengths)]
    if problems:
        raise DatasetError.listing(f"the {split} split cannot be used for a temporal teacher", problems)
    labels = annotated_labels(annotations, annotated, lengths)
    return SplitDataset(split, annotated.filenames, ids, lengths, annotated.labels, features, labels)


def _unlabelled(annotations: Annotations, split: DatasetSplit) -> list[str]:
    """Return a line for each clip that has classes but no events."""
    with_events = {row.filename for rows in annotations.events.values() for row in rows}
    return [
        f"{escape(filename)}: has classes, but no events with times (rows in the event tables of both modalities); a"
        " teacher needs labels per second"
        for filename, classes in zip(split.filenames, split.labels, strict=True)
        if classes.any() and filename not in with_events
    ]


def _of_other_lengths(annotations: Annotations, split: DatasetSplit, lengths: NDArray[np.int64]) -> list[str]:
    """Return a line for each clip whose features have another number of rows than it has seconds."""
    return [
        f"{escape(filename)}: its features have {length} rows, but it lasts {seconds} s; expected a row for each"
        for filename, length in zip(split.filenames, lengths.tolist(), strict=True)
        if (seconds := annotations.seconds.get(filename)) is not None and abs(length - seconds) > _TOLERANCE
    ]
