"""What happens in a clip: events of a second's grain, heard, seen, or both at times of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_AT_ONCE = 3  # events of a modality in any second
_WHOLE = 0.15  # share of events that last from beginning to end
_TOGETHER = 0.3  # share of classes heard and seen at the same time; a third of the others is both, at different times
_LONGEST = 12  # seconds of an event in a clip that is longer than that


@dataclass(frozen=True)
class Event:
    """A class that is heard or seen from `onset` up to `offset`, whole seconds."""

    label: int
    onset: int
    offset: int


@dataclass(frozen=True)
class ClipPlan:
    """Clip `name` of T seconds; `seed` tells everything that is drawn by chance in it."""

    name: str
    length: int
    heard: tuple[Event, ...]
    seen: tuple[Event, ...]
    seed: tuple[int, ...]

    def table(self, modality: str, classes: int) -> NDArray[np.bool_]:
        """(T, C): the class is heard ("audio") or seen ("visual") in that second."""
        truth = np.zeros((self.length, classes), bool)
        for event in self.heard if modality == "audio" else self.seen:
            truth[event.onset : event.offset, event.label] = True
        return truth


def plan_clip(name: str, seed: Sequence[int], length: int, classes: int) -> ClipPlan:
    """One to three classes with events, more in clips of more than ten seconds; the same for the same seed."""
    rng = np.random.default_rng(seed)
    count = min(classes, int(rng.integers(1, 4 + max(0, length - 10) // 10)))
    heard: list[Event] = []
    seen: list[Event] = []
    for label in rng.choice(classes, count, replace=False).tolist():
        span = _span(rng, length)
        if rng.random() < _TOGETHER:
            chosen = [(heard, span), (seen, span)]
        else:
            chosen = [[(heard, span)], [(seen, span)], [(heard, span), (seen, _span(rng, length))]][rng.integers(3)]
        for events, (onset, offset) in chosen:
            if _crowd(events, length)[onset:offset].max() < MOST_AT_ONCE:
                events.append(Event(label, onset, offset))
    return ClipPlan(name, length, tuple(heard), tuple(seen), tuple(seed))


def _span(rng: np.random.Generator, length: int) -> tuple[int, int]:
    if length == 1 or (length <= _LONGEST and rng.random() < _WHOLE):
        return 0, length
    onset, offset = sorted(rng.choice(length + 1, 2, replace=False).tolist())
    return onset, min(offset, onset + _LONGEST)


def _crowd(events: Sequence[Event], length: int) -> NDArray[np.int64]:
    """Events in each second."""
    count = np.zeros(length, int)
    for event in events:
        count[event.onset : event.offset] += 1
    return count
