"""Events made tidier after the parser has spoken, and events of both modalities found anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import SetupError
from ..text import escape
from ..timeline import Event, Modality, Timeline, sort_events

_SENSES: tuple[Modality, Modality] = ("audio", "visual")
_ROUNDING = 1e-9  # of differences of seconds


@dataclass(frozen=True)
class PostProcessing:
    """What is done to the events of a timeline, in this order; seconds and probabilities.

    classes: the only ones to keep. merge_gap: events of a class and modality that are at most so far apart become one,
    its score the mean by duration. min_duration, min_score: what is shorter or less sure is dropped.
    """

    classes: tuple[str, ...] | None = None
    merge_gap: float | None = None
    min_duration: float | None = None
    min_score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, for the record."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def check(self, labels: Sequence[str]) -> None:
        """Raises SetupError for a class that is not among the labels."""
        if unknown := [label for label in self.classes or () if label not in labels]:
            raise SetupError(f"unknown class {escape(unknown[0])}; known: {escape(', '.join(labels))}")


NO_REFINEMENT = PostProcessing()


def refine(timeline: Timeline, refinement: PostProcessing) -> Timeline:
    """The timeline with other events, and a step in `processing` that says so; itself where nothing was asked for.

    Events of both modalities are those that were there, and where merging made them longer, what coincides now.
    Raises SetupError as `PostProcessing.check`.
    """
    asked = refinement.to_dict()
    if not asked:
        return timeline
    refinement.check(timeline.labels)
    events = [e for e in timeline.events if refinement.classes is None or e.label in refinement.classes]
    own = split_modalities(events)
    if refinement.merge_gap is not None:
        own = merge_events(own, refinement.merge_gap)
    own = [event for event in own if _stays(event, refinement)]
    scores = {(e.label, e.onset, e.offset): e.score for e in events if e.modality == "audio_visual"}
    both = [
        replace(event, score=scores.get((event.label, event.onset, event.offset), event.score))
        for event in with_audio_visual(own)
        if event.modality == "audio_visual"
    ]
    own += [event for event in both if _stays(event, refinement)]
    return replace(
        timeline,
        events=sort_events(own, timeline.labels),
        processing=(*timeline.processing, {"step": "refine", **asked}),
    )


def _stays(event: Event, refinement: PostProcessing) -> bool:
    long_enough = refinement.min_duration is None or event.duration >= refinement.min_duration
    return long_enough and (refinement.min_score is None or event.score >= refinement.min_score)


def merge_events(events: Iterable[Event], gap: float) -> list[Event]:
    """Events of a class and modality that overlap or are at most `gap` seconds apart, as one."""
    merged: list[Event] = []
    for event in sorted(events, key=lambda e: (e.modality, e.label, e.onset, e.offset)):
        last = merged[-1] if merged else None
        same = last is not None and (last.modality, last.label) == (event.modality, event.label)
        if last is None or not same or event.onset - last.offset > gap + _ROUNDING:
            merged.append(event)
            continue
        score = (last.score * last.duration + event.score * event.duration) / (last.duration + event.duration)
        merged[-1] = replace(last, offset=max(last.offset, event.offset), score=min(score, 1.0))
    return merged


def split_modalities(events: Iterable[Event]) -> list[Event]:
    """What is heard and what is seen: events of a modality, and of audio-visual ones what those do not cover.

    In timelines of this program that is nothing; other programs may say of an event only that it is both.
    """
    events = list(events)
    found = [event for event in events if event.modality in _SENSES]
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for event in sorted(found, key=lambda e: e.onset):
        spans.setdefault((event.modality, event.label), []).append((event.onset, event.offset))
    for event in events:
        if event.modality == "audio_visual":
            for sense in _SENSES:
                for start, stop in _uncovered(event, spans.get((sense, event.label), [])):
                    found.append(replace(event, modality=sense, onset=start, offset=stop))
    return found


def _uncovered(event: Event, spans: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The parts of an event outside of intervals that are ordered by onset."""
    reached = event.onset
    for start, stop in spans:
        if start >= event.offset:
            break
        if start > reached:
            yield reached, start
        reached = max(reached, stop)
    if reached < event.offset:
        yield reached, event.offset


def with_audio_visual(events: Iterable[Event]) -> list[Event]:
    """What is heard and what is seen, as `split_modalities` has it, and where the same class is both at once: there
    the smaller score holds."""
    own = split_modalities(events)
    merged: dict[tuple[str, str], list[Event]] = {}
    for event in merge_events(own, 0.0):
        merged.setdefault((event.modality, event.label), []).append(event)
    found = []
    for (modality, label), heard in merged.items():
        seen = merged.get(("visual", label), [])
        first = 0
        for event in heard if modality == "audio" else ():
            while first < len(seen) and seen[first].offset <= event.onset:
                first += 1
            place = first
            while place < len(seen) and seen[place].onset < event.offset:
                other, place = seen[place], place + 1
                start, stop = max(event.onset, other.onset), min(event.offset, other.offset)
                found.append(Event("audio_visual", label, start, stop, min(event.score, other.score)))
    return [*own, *found]
