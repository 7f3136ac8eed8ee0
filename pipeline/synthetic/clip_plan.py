"""Random plans of clips: which class occurs when, in the audio, in the image, or in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..timeline import SegmentLabels

MAX_SIMULTANEOUS = 3  # events of one modality in any second
_FULL_LENGTH_SHARE = 0.15  # of events that last the whole clip
_SAME_SPAN_SHARE = 0.3  # of classes audible and visible at the same time; a third of the rest is both, at two times
_MAX_EVENT_SECONDS = 12


@dataclass(frozen=True)
class PlannedEvent:
    """A class that occurs in one modality over [onset, offset), whole seconds."""

    label: int  # index of the class
    onset: int
    offset: int


@dataclass(frozen=True)
class ClipPlan:
    """The content of one clip of T seconds."""

    name: str
    length: int  # T
    audio: tuple[PlannedEvent, ...]
    visual: tuple[PlannedEvent, ...]
    seed: tuple[int, ...]  # of all that is random in rendering the clip
    columns: int = 2  # of cells, in two rows, in which objects stand; two are the square that LLP's networks crop

    def segment_labels(self, classes: int) -> SegmentLabels:
        """Return which of C classes are present in which second, (T, C)."""
        tables = []
        for events in (self.audio, self.visual):
            table = np.zeros((self.length, classes), bool)
            for event in events:
                table[event.onset : event.offset, event.label] = True
            tables.append(table)
        return SegmentLabels(*tables)


def plan_clip(name: str, seed: Sequence[int], length: int, classes: int) -> ClipPlan:
    """Draw the events of one clip: one to three classes, and up to one more for every ten seconds beyond the first ten.

    Args:
        name: of the clip.
        seed: the same seed gives the same plan.
        length: T, in seconds.
        classes: C, how many classes there are to draw from.

    Returns:
        The plan; in no second does a modality have more than `MAX_SIMULTANEOUS` events.
    """
    rng = np.random.default_rng(seed)
    count = min(classes, int(rng.integers(1, 4 + max(0, length - 10) // 10)))
    audio: list[PlannedEvent] = []
    visual: list[PlannedEvent] = []
    for label in rng.choice(classes, count, replace=False).tolist():
        span = _span(rng, length)
        if rng.random() < _SAME_SPAN_SHARE:
            spans = [(audio, span), (visual, span)]
        else:
            spans = [[(audio, span)], [(visual, span)], [(audio, span), (visual, _span(rng, length))]][rng.integers(3)]
        for events, (onset, offset) in spans:
            if _event_counts(events, length)[onset:offset].max() < MAX_SIMULTANEOUS:
                events.append(PlannedEvent(label, onset, offset))
    return ClipPlan(name, length, tuple(audio), tuple(visual), tuple(seed))


def _span(rng: np.random.Generator, length: int) -> tuple[int, int]:
    if length == 1 or (length <= _MAX_EVENT_SECONDS and rng.random() < _FULL_LENGTH_SHARE):
        return 0, length
    onset, offset = sorted(rng.choice(length + 1, 2, replace=False).tolist())
    return onset, min(offset, onset + _MAX_EVENT_SECONDS)


def _event_counts(events: Sequence[PlannedEvent], length: int) -> NDArray[np.int64]:
    """(T,): number of events in each second."""
    counts = np.zeros(length, int)
    for event in events:
        counts[event.onset : event.offset] += 1
    return counts
