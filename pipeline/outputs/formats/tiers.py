"""Events on the tiers of annotation programs, on which intervals must not overlap."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import cast

from ...timeline import MODALITIES, Event, Modality, Timeline
from ..postprocess import with_audio_visual


def to_tiers(timeline: Timeline) -> dict[str, list[Event]]:
    """Distribute events over tiers without overlaps.

    Args:
        timeline: the events.

    Returns:
        Tier name -> events by onset. Each modality has a tier, even without events, and further ones ("audio 2")
        where events overlap.
    """
    tiers: dict[str, list[Event]] = {}
    for modality in MODALITIES:
        modality_tiers: list[list[Event]] = [[]]
        free, taken = [0], list[tuple[float, int]]()  # numbers of tiers; end and number of those with an event
        for event in timeline.events:  # ordered by onset
            if event.modality != modality:
                continue
            while taken and taken[0][0] <= event.onset:
                heapq.heappush(free, heapq.heappop(taken)[1])
            if not free:
                heapq.heappush(free, len(modality_tiers))
                modality_tiers.append([])
            number = heapq.heappop(free)  # the first tier without an overlap
            modality_tiers[number].append(event)
            heapq.heappush(taken, (event.offset, number))
        tiers |= {f"{modality} {n}" if n > 1 else modality: tier for n, tier in enumerate(modality_tiers, 1)}
    return tiers


def find_modality(tier: str) -> Modality | None:
    """Return the modality that is the first word of a tier's name, None where it is not a modality."""
    first = tier.strip().split(" ")[0].casefold()
    return cast("Modality", first) if first in MODALITIES else None


def from_tiers(events: Iterable[Event], names: Iterable[str], *, path: str, duration: float | None) -> Timeline:
    """Build a timeline from the events of an annotation file.

    Audio-visual events are computed anew from the audio and visual ones, which the user may have moved.

    Args:
        events: of all tiers.
        names: of the tiers.
        path: of the media.
        duration: of the media in seconds, None where the file does not hold it.

    Raises:
        ValueError: no tier is named after a modality.
    """
    if not any(find_modality(name) for name in names):
        raise ValueError(f"no tier has a name that begins with {', '.join(MODALITIES)}")
    return Timeline.of_events(with_audio_visual(drop_derived(events)), path=path, duration=duration)


def drop_derived(events: Iterable[Event]) -> list[Event]:
    """Drop audio-visual events of classes that have audio or visual events, which may have been moved since."""
    events = list(events)
    labels = {event.label for event in events if event.modality != "audio_visual"}
    return [event for event in events if event.modality != "audio_visual" or event.label not in labels]
