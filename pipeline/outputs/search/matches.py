"""Find the events of a timeline that fit a query, and the moments in which several fit at once."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...timeline import Event, Modality, Timeline
from ..postprocess import MAX_DERIVED_EVENTS, PostProcessing, TooManyEventsError, refine
from .query import Query

_ROUNDING = 1e-9  # tolerance for differences of seconds


@dataclass(frozen=True)
class Moment:
    """What a query finds in a timeline: an event, or the time that one event of each condition shares.

    Attributes:
        onset: start in seconds.
        offset: end in seconds, exclusive.
        score: the smallest of the events, in [0, 1].
        events: one for each condition, in the order of the conditions.
    """

    onset: float
    offset: float
    score: float
    events: tuple[Event, ...]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.offset - self.onset

    @property
    def modality(self) -> Modality:
        """The modality of its events, "audio_visual" where they have several."""
        first, *others = self.events
        return first.modality if all(other.modality == first.modality for other in others) else "audio_visual"

    @property
    def label(self) -> str:
        """The classes of its events, each once, joined by " + "."""
        return " + ".join(dict.fromkeys(event.label for event in self.events))


def find_moments(timeline: Timeline, query: Query) -> list[Moment]:
    """Find what fits a query.

    Several conditions give the time that one event of each shares. Audio-visual events without an audio or a visual
    event of their class count as these, too, and audio and visual events that overlap as audio-visual ones. Events of
    a localizer are found in every modality.

    Args:
        timeline: the events.
        query: what to find.

    Returns:
        What was found, by onset.

    Raises:
        TooManyEventsError: events overlap so often that more than `MAX_DERIVED_EVENTS` moments follow from them.
    """
    if query.any_of or len(query.conditions) <= 1:
        fitting = [event for event in _candidates(timeline, query) if _fits_one(event, query, timeline.lanes)]
        moments = [Moment(event.onset, event.offset, event.score, (event,)) for event in fitting]
    else:
        moments = _common_moments(_candidates(timeline, query), query, timeline.lanes)
    shortest = query.min_duration - _ROUNDING
    return [moment for moment in moments if moment.duration >= shortest and moment.score >= query.min_score]


def _fits_one(event: Event, query: Query, lanes: Sequence[Modality]) -> bool:
    return not query.conditions or any(condition.fits(event, lanes) for condition in query.conditions)


def _candidates(timeline: Timeline, query: Query) -> Sequence[Event]:
    """Return the events of the classes of a query; audio-visual ones are computed anew, see `refine`."""
    if not query.conditions:
        return timeline.events
    labels = tuple(label for label in timeline.labels if any(each.has_class(label) for each in query.conditions))
    return refine(timeline, PostProcessing(classes=labels)).events if labels else ()


def _common_moments(events: Sequence[Event], query: Query, lanes: Sequence[Modality]) -> list[Moment]:
    moments: list[Moment] = []
    for number, condition in enumerate(query.conditions):
        fitting = [
            Moment(event.onset, event.offset, event.score, (event,))
            for event in events
            if event.score >= query.min_score and condition.fits(event, lanes)
        ]
        moments = _overlaps(moments, fitting) if number else fitting
    return sorted(moments, key=lambda moment: (moment.onset, moment.offset))


def _overlaps(first: Sequence[Moment], second: Sequence[Moment]) -> list[Moment]:
    """Return the time that each two moments share. The work grows with the number of moments and of results."""
    found: list[Moment] = []
    for earlier, later, swapped in _overlapping_pairs(first, second):
        one, other = (later, earlier) if swapped else (earlier, later)
        end, score = min(one.offset, other.offset), min(one.score, other.score)
        found.append(Moment(later.onset, end, score, (*one.events, *other.events)))
        if len(found) > MAX_DERIVED_EVENTS:
            raise TooManyEventsError(
                f"more than {MAX_DERIVED_EVENTS:,} moments fit, as its events overlap too often; raise the least score"
            )
    return found


def _overlapping_pairs(first: Sequence[Moment], second: Sequence[Moment]) -> Iterator[tuple[Moment, Moment, bool]]:
    """Yield the pairs that overlap, the one that begins earlier first, and whether that is one of `second`."""
    active: tuple[list[tuple[float, int, Moment]], ...] = ([], [])  # heaps by offset
    arrivals = [(moment, 0) for moment in first] + [(moment, 1) for moment in second]
    arrivals.sort(key=lambda arrival: arrival[0].onset)
    for number, (moment, side) in enumerate(arrivals):
        others = active[1 - side]
        while others and others[0][0] <= moment.onset:
            heapq.heappop(others)
        for _, _, other in others:
            yield other, moment, side == 0
        heapq.heappush(active[side], (moment.offset, number, moment))
