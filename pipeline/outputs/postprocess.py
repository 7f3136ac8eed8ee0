"""Post-process events (merge gaps, filter) and recompute audio-visual events."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import OutputError, SetupError
from ..text import escape
from ..timeline import MAX_COMMENT, MAX_EVENTS, SINGLE_MODALITIES, Event, Timeline, sort_events

_ROUNDING = 1e-9  # tolerance for differences of seconds
_MAX_LISTED = 100  # classes in a message
MAX_DERIVED_EVENTS = 3 * MAX_EVENTS  # audio and visual events, with those that are derived from audio-visual ones


class TooManyEventsError(OutputError, ValueError):
    """Events of a file multiply where they are converted: many overlap many others of their class."""


@dataclass(frozen=True)
class PostProcessing:
    """Options of `refine`, applied in this order; None skips the step."""

    classes: tuple[str, ...] | None = None  # keep only these
    merge_gap: float | None = None  # seconds; events of a class and modality at most this far apart become one
    min_duration: float | None = None  # seconds; shorter events are dropped
    min_score: float | None = None  # in [0, 1]; events with a lower score are dropped

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are set."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def check(self, labels: Sequence[str]) -> None:
        """Raise SetupError for a class that is not among the labels."""
        known = set(labels)
        if unknown := [label for label in self.classes or () if label not in known]:
            raise SetupError(f"unknown class {escape(unknown[0])}; known: {_listed(labels)}")


def _listed(labels: Sequence[str]) -> str:
    listed = escape(", ".join(labels[:_MAX_LISTED]))
    return listed if len(labels) <= _MAX_LISTED else f"{listed}, ... ({len(labels):,} classes)"


NO_REFINEMENT = PostProcessing()


def refine(timeline: Timeline, refinement: PostProcessing) -> Timeline:
    """Post-process the events of a timeline.

    Audio-visual events are computed anew from the processed audio and visual ones; one with the same class and times
    as before keeps its score and comment. A merged event has the mean score, weighted by duration.

    The audio-visual events of a localizer are processed themselves. Gaps in which there is another class stay, so that
    each second has at most one class.

    Args:
        timeline: its order of labels and its other fields are kept.
        refinement: the steps to apply.

    Returns:
        A timeline with a "refine" entry in `processing`, or `timeline` itself without options.

    Raises:
        SetupError: a class is not among the labels of the timeline.
    """
    options = refinement.to_dict()
    if not options:
        return timeline
    refinement.check(timeline.labels)
    if timeline.lanes == ("audio_visual",):
        return replace(
            timeline, events=_refine_localized(timeline, refinement), processing=_with_step(timeline, options)
        )
    events = _of_classes(timeline.events, refinement)
    processed = split_modalities(events)
    if refinement.merge_gap is not None:
        processed = merge_events(processed, refinement.merge_gap)
    processed = [event for event in processed if _is_kept(event, refinement)]
    earlier = {(e.label, e.onset, e.offset): e for e in events if e.modality == "audio_visual"}
    audio_visual = [
        earlier.get((event.label, event.onset, event.offset), event)
        for event in with_audio_visual(processed)
        if event.modality == "audio_visual"
    ]
    processed += [event for event in audio_visual if _is_kept(event, refinement)]
    return replace(timeline, events=sort_events(processed, timeline.labels), processing=_with_step(timeline, options))


def _of_classes(events: Iterable[Event], refinement: PostProcessing) -> list[Event]:
    classes = None if refinement.classes is None else frozenset(refinement.classes)
    return [event for event in events if classes is None or event.label in classes]


def _with_step(timeline: Timeline, options: dict[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return (*timeline.processing, {"step": "refine", **options})


def _refine_localized(timeline: Timeline, refinement: PostProcessing) -> tuple[Event, ...]:
    """Post-process the events of a localizer. Classes that are not kept do not separate events of the others."""
    events = _of_classes(timeline.events, refinement)
    if refinement.merge_gap is not None:
        events = _merge_neighbours(events, refinement.merge_gap)
    return sort_events((event for event in events if _is_kept(event, refinement)), timeline.labels)


def _merge_neighbours(events: Iterable[Event], gap: float) -> list[Event]:
    """Merge events that follow one another, without an event of another class between them; as `merge_events`."""
    merged: list[Event] = []
    for event in events:
        joined = merge_events([merged[-1], event], gap) if merged and merged[-1].label == event.label else ()
        if len(joined) == 1:
            merged[-1:] = joined
        else:
            merged.append(event)
    return merged


def _is_kept(event: Event, refinement: PostProcessing) -> bool:
    long_enough = refinement.min_duration is None or event.duration >= refinement.min_duration
    return long_enough and (refinement.min_score is None or event.score >= refinement.min_score)


def merge_events(events: Iterable[Event], gap: float) -> list[Event]:
    """Merge events of the same class and modality that overlap or are close to each other.

    Args:
        events: in any order.
        gap: largest distance in seconds at which two events are merged.

    Returns:
        Events by modality, class and onset; a merged event has the mean score, weighted by duration.
    """
    merged: list[Event] = []
    for event in sorted(events, key=lambda e: (e.modality, e.label, e.onset, e.offset)):
        last = merged[-1] if merged else None
        same_class = last is not None and (last.modality, last.label) == (event.modality, event.label)
        if last is None or not same_class or event.onset - last.offset > gap + _ROUNDING:
            merged.append(event)
            continue
        score = (last.score * last.duration + event.score * event.duration) / (last.duration + event.duration)
        offset = max(last.offset, event.offset)
        merged[-1] = replace(last, offset=offset, score=min(score, 1.0), comment=_join_comments(last, event))
    return merged


def _join_comments(first: Event, second: Event) -> str:
    comments = dict.fromkeys(comment for comment in (first.comment, second.comment) if comment)
    return "; ".join(comments)[:MAX_COMMENT]


def split_modalities(events: Iterable[Event]) -> list[Event]:
    """Convert events to audio and visual events only.

    Where an audio-visual event is not covered by an audio (or visual) event of its class, the uncovered part becomes
    one. In timelines of this program everything is covered; other programs may write an event as audio-visual only.

    Args:
        events: of any modality.

    Returns:
        The audio and visual events, followed by the added ones.

    Raises:
        TooManyEventsError: they are more than `MAX_DERIVED_EVENTS`.
    """
    events = list(events)
    split = [event for event in events if event.modality in SINGLE_MODALITIES]
    if len(split) == len(events):
        return split
    covered: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for event in sorted(split, key=lambda e: e.onset):
        spans = covered.setdefault((event.modality, event.label), [])
        if spans and event.onset <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], event.offset)
        else:
            spans.append((event.onset, event.offset))
    for event in events:
        for modality in SINGLE_MODALITIES if event.modality == "audio_visual" else ():
            for start, stop in _uncovered(event, covered.get((modality, event.label), [])):
                split.append(Event(modality, event.label, start, stop, event.score, event.comment))
        if len(split) > MAX_DERIVED_EVENTS:
            raise TooManyEventsError(
                f"more than {MAX_DERIVED_EVENTS:,} audio and visual events follow from the audio-visual ones, which"
                " overlap too often; merge them first"
            )
    return split


def _uncovered(event: Event, spans: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the parts of an event outside of intervals that are ordered by onset and do not touch."""
    covered_to = event.onset
    first = max(0, bisect_right(spans, (event.onset, math.inf)) - 1)  # the only one that begins earlier and may overlap
    for start, stop in itertools.islice(spans, first, None):
        if start >= event.offset:
            break
        if start > covered_to:
            yield covered_to, start
        covered_to = max(covered_to, stop)
    if covered_to < event.offset:
        yield covered_to, event.offset


def with_audio_visual(events: Iterable[Event]) -> list[Event]:
    """Recompute audio-visual events: where audio and visual events of a class overlap, with the smaller score.

    Args:
        events: of any modality; audio-visual ones are replaced, see `split_modalities`.

    Returns:
        The audio and visual events, followed by the audio-visual ones.

    Raises:
        TooManyEventsError: they multiply, see `split_modalities`.
    """
    single = split_modalities(events)
    merged: dict[tuple[str, str], list[Event]] = {}
    for event in merge_events(single, 0.0):
        merged.setdefault((event.modality, event.label), []).append(event)
    audio_visual = []
    for (modality, label), audio_events in merged.items():
        visual_events = merged.get(("visual", label), [])
        first = 0
        for audio in audio_events if modality == "audio" else ():
            while first < len(visual_events) and visual_events[first].offset <= audio.onset:
                first += 1
            index = first
            while index < len(visual_events) and visual_events[index].onset < audio.offset:
                visual, index = visual_events[index], index + 1
                start, stop = max(audio.onset, visual.onset), min(audio.offset, visual.offset)
                audio_visual.append(Event("audio_visual", label, start, stop, min(audio.score, visual.score)))
    return [*single, *audio_visual]
