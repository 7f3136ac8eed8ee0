"""Random plans of clips of one audio-visual event, among seconds in which something is only heard or only seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .clip_plan import ClipPlan, PlannedEvent

COLUMNS = 3  # of cells: objects stand anywhere in the picture
_FULL_LENGTH_SHARE = 2 / 3  # of events that last the whole clip; in AVE 66 %
_BYSTANDER_SHARE = 0.3  # of clips in which an object of another class is seen, and never heard
_CONTENTS, _CONTENT_SHARES = ("nothing", "own", "other"), (0.4, 0.35, 0.25)  # of one modality before or after the event
_NOISY_SHARE_BOTH = 0.5  # of clips without event in which the other class is both heard and seen


class _Background(NamedTuple):
    """What is heard and what is seen in the seconds before or after an event, never the same class."""

    heard: int | None
    seen: int | None


def plan_event_clip(name: str, seed: Sequence[int], length: int, label: int, classes: Sequence[int]) -> ClipPlan:
    """Draw a clip of one event, which is heard and seen, in two thirds of the clips from beginning to end.

    In the seconds before and after it, its class may be heard or seen, but not both, and so may other classes. An
    object of another class may be seen throughout the clip. `find_event` finds the event.

    Args:
        name: of the clip.
        seed: the same seed gives the same plan.
        length: T, in seconds.
        label: index of the event's class.
        classes: indices of all classes, from which others are drawn.

    Returns:
        The plan; in no second is any other class both heard and seen.
    """
    rng = np.random.default_rng(seed)
    others: list[int] = rng.permutation([index for index in classes if index != label]).tolist()
    bystander = others.pop() if others and rng.random() < _BYSTANDER_SHARE else None
    onset, offset = _event_span(rng, length)
    heard, seen = [onset, offset], [onset, offset]
    audio: list[PlannedEvent] = []
    visual: list[PlannedEvent] = [] if bystander is None else [PlannedEvent(bystander, 0, length)]
    for side, (start, stop) in enumerate([(0, onset), (offset, length)]):
        background = _draw_background(rng, label, others)
        for part, span, events in ((background.heard, heard, audio), (background.seen, seen, visual)):
            if part == label:
                span[side] = (start, stop)[side]
            elif part is not None and start < stop:
                events.append(PlannedEvent(part, start, stop))
    audio.append(PlannedEvent(label, *heard))
    visual.append(PlannedEvent(label, *seen))
    return ClipPlan(name, length, tuple(audio), tuple(visual), tuple(seed), columns=COLUMNS)


def plan_noisy_clip(name: str, seed: Sequence[int], length: int, classes: Sequence[int]) -> ClipPlan:
    """Draw a clip of other classes than those of the data set: one that is heard and seen, or two that are one of both.

    Args:
        name: of the clip.
        seed: the same seed gives the same plan.
        length: T, in seconds.
        classes: indices of the other classes, at least two.

    Returns:
        The plan; for the data set, all of its seconds are background.
    """
    rng = np.random.default_rng(seed)
    heard, seen = map(int, rng.choice(classes, 2, replace=False))
    if rng.random() < _NOISY_SHARE_BOTH:
        seen = heard
    audio, visual = (PlannedEvent(index, *_event_span(rng, length)) for index in (heard, seen))
    return ClipPlan(name, length, (audio,), (visual,), tuple(seed), columns=COLUMNS)


def find_event(plan: ClipPlan) -> PlannedEvent | None:
    """Find the seconds in which one class is both heard and seen.

    Args:
        plan: of a clip with at most one such event.

    Returns:
        The event; None where there is no such second.
    """
    for heard in plan.audio:
        for seen in plan.visual:
            onset, offset = max(heard.onset, seen.onset), min(heard.offset, seen.offset)
            if heard.label == seen.label and onset < offset:
                return PlannedEvent(heard.label, onset, offset)
    return None


def _event_span(rng: np.random.Generator, length: int) -> tuple[int, int]:
    if length == 1 or rng.random() < _FULL_LENGTH_SHARE:
        return 0, length
    while True:
        onset, offset = sorted(rng.choice(length + 1, 2, replace=False).tolist())
        if offset - onset < length:
            return onset, offset


def _draw_background(rng: np.random.Generator, label: int, others: Sequence[int]) -> _Background:
    """Draw contents of both modalities; `others` are in random order."""
    heard, seen = rng.choice(_CONTENTS, 2, p=_CONTENT_SHARES).tolist()
    if heard == seen == "own":
        heard, seen = ("own", "nothing") if rng.random() < 0.5 else ("nothing", "own")
    first, second = rng.permutation(others)[:2].tolist() if len(others) > 1 else (None, None)
    contents = {"nothing": (None, None), "own": (label, label), "other": (first, second)}
    return _Background(contents[heard][0], contents[seen][1])
