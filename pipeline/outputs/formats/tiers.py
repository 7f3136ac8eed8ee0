"""Events on the tiers of annotation programs, on which intervals must not overlap."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import cast
from urllib.parse import unquote, urlsplit

from ...event_limits import check_timelines
from ...text import shorten
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


def media_name(address: str) -> str:
    """Return the name of the media file that an address (a URL or a path) of a file leads to, "" for none.

    Raises:
        ValueError: the address is not valid.
    """
    try:
        path = urlsplit(address.replace("\\", "/")).path
    except ValueError as error:
        raise ValueError(f"{shorten(address)} is not the address of a file") from error
    return PurePosixPath(unquote(path)).name


def drop_derived(events: Iterable[Event]) -> list[Event]:
    """Drop audio-visual events of classes that have audio or visual events, which may have been moved since."""
    events = list(events)
    labels = {event.label for event in events if event.modality != "audio_visual"}
    return [event for event in events if event.modality != "audio_visual" or event.label not in labels]


def to_timelines(
    events: Mapping[str, Iterable[Event]], name: str, durations: Mapping[str, float] | None = None
) -> list[Timeline]:
    """Build the timelines of a file that has audio and visual events of several clips.

    Audio-visual events are computed anew from the audio and visual ones.

    Args:
        events: path of a clip's media -> its events.
        name: of the timeline of a file without clips.
        durations: path of a clip's media -> seconds, where they are known.

    Raises:
        ValueError: there are more clips, or events of one, than are read.
    """
    check_timelines(events)
    if durations and min(durations.values()) < 0:
        raise ValueError("the duration of a clip is negative")
    return [
        Timeline.of_events(
            with_audio_visual(drop_derived(clip_events)), path=path, duration=(durations or {}).get(path)
        )
        for path, clip_events in (events or {name: []}).items()
    ]
