"""Targets of audio-visual event localization: in each second one class that is heard and seen, or background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...models.localizers.config import BACKGROUND
from ..errors import DatasetError
from ..text import count_of, escape
from ..timeline import SegmentLabels
from .annotations import EVENT_FILES, Annotations, DatasetSplit


class EventTargets(NamedTuple):
    """Targets of N clips and C classes.

    Attributes:
        segments: (N, T) class of each second, C for background and past the end of a clip.
        video: (N, C + 1) 1 for the class with the most seconds in the clip, for background where there is no event.
        shares: (N, C + 1) share of each class in the seconds of the clip; their sum is 1.
        ambiguous: (N,) seconds in which several classes are heard and seen.
    """

    segments: NDArray[np.int64]
    video: NDArray[np.float32]
    shares: NDArray[np.float32]
    ambiguous: NDArray[np.int64]


def find_event_targets(labels: SegmentLabels, lengths: ArrayLike) -> EventTargets:
    """Turn classes heard and classes seen into one class a second.

    A class is an event where it is both heard and seen. Where several are, the one with the most such seconds in the
    clip counts: a clip of this task has one event. Of equals it is the one that begins first, then that of the lower
    index.

    Args:
        labels: (N, T, C) of N clips.
        lengths: (N,) seconds of the clips, from 1 to T.

    Returns:
        The targets.
    """
    clips, seconds, classes = labels.audio.shape
    segments = np.full((clips, seconds), classes, np.int64)
    video = np.zeros((clips, classes + 1), np.float32)
    shares = np.zeros((clips, classes + 1), np.float32)
    ambiguous = np.zeros(clips, np.int64)
    for clip, length in enumerate(np.asarray(lengths).tolist()):
        active = labels.audio[clip, :length] & labels.visual[clip, :length]
        counts = active.sum(axis=0)
        order = np.lexsort((active.argmax(axis=0), -counts))  # stable: of equals, the lower index is first
        events = active.any(axis=1)
        segments[clip, :length][events] = order[active[events][:, order].argmax(axis=1)]
        video[clip, order[0] if events.any() else classes] = 1
        shares[clip] = np.bincount(segments[clip, :length], minlength=classes + 1) / length
        ambiguous[clip] = (active.sum(axis=1) > 1).sum()
    return EventTargets(segments, video, shares, ambiguous)


def annotated_targets(annotations: Annotations, split: DatasetSplit, lengths: ArrayLike) -> EventTargets:
    """Return the annotated targets of a split.

    Args:
        annotations: of a data set in AVE's form or in LLP's, whose event files then have rows of the split's clips.
        split: N clips of it.
        lengths: (N,) seconds of the clips; later seconds are cut.

    Returns:
        The targets.

    Raises:
        DatasetError: no clip of the split has rows in the event files, so that nothing says where its events are; or a
            class has the name of the background.
    """
    if BACKGROUND in annotations.labels:
        raise DatasetError(
            f"{escape(annotations.folder)}: a class is called {BACKGROUND!r}, the name of the seconds without an event;"
            " leave its rows out"
        )
    for modality, file in EVENT_FILES.items() if annotations.task == "avvp" else ():
        rows = {row.filename for row in annotations.events.get(modality, ())}
        if rows.isdisjoint(split.filenames):
            raise DatasetError(
                f"{escape(annotations.folder / file)}: has no row of the {split.name} clips, so nothing says when their"
                f" classes are {'heard' if modality == 'audio' else 'seen'}, which event localization needs; add their"
                " rows, of both files"
            )
    longest = int(np.max(lengths))
    return find_event_targets(annotations.segment_labels(split, longest), lengths)


def describe_targets(targets: EventTargets, filenames: Sequence[str]) -> Iterator[str]:
    """Say what the user should know about targets.

    Args:
        targets: of N clips.
        filenames: of the clips.

    Yields:
        A line for each kind of irregularity.
    """
    if several := [name for name, seconds in zip(filenames, targets.ambiguous, strict=True) if seconds]:
        yield (
            f"{count_of(several, 'clip')} with several classes heard and seen at once,"
            f" {int(targets.ambiguous.sum()):,} s in all: the class with more seconds in the clip counts"
        )
    classes = targets.video.shape[1] - 1
    mixed = [
        name for name, shares in zip(filenames, targets.shares, strict=True) if np.count_nonzero(shares[:classes]) > 1
    ]
    if mixed:
        yield (
            f"{count_of(mixed, 'clip')} with events of several classes: systems that classify the clip as a whole learn"
            " the class with the most seconds"
        )
