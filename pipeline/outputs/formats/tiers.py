"""Events on tiers, as annotation programs have them: on one tier, nothing overlaps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from ...timeline import MODALITIES, Event, Modality, Timeline
from ..postprocess import with_audio_visual


def to_tiers(timeline: Timeline) -> dict[str, list[Event]]:
    """A tier for each modality, named after it, even if empty; more of them ("audio 2") where events overlap."""
    tiers: dict[str, list[Event]] = {}
    for modality in MODALITIES:
        lanes: list[list[Event]] = [[]]
        for event in timeline.events:
            if event.modality != modality:
                continue
            lane = next((lane for lane in lanes if not lane or lane[-1].offset <= event.onset), None)
            if lane is None:
                lanes.append(lane := [])
            lane.append(event)
        tiers |= {f"{modality} {n}" if n > 1 else modality: lane for n, lane in enumerate(lanes, 1)}
    return tiers


def find_modality(tier: str) -> Modality | None:
    """Of a tier by its name: the first word; None for tiers of other things."""
    first = tier.strip().split(" ")[0].casefold()
    return cast("Modality", first) if first in MODALITIES else None


def from_tiers(events: Iterable[Event], names: Iterable[str], *, path: str, duration: float | None) -> Timeline:
    """The timeline of what the tiers of these names hold. Raises ValueError where none of them is a modality's.

    What is heard and seen at once follows from what is heard and what is seen, which a person may have moved.
    """
    if not any(find_modality(name) for name in names):
        raise ValueError(f"no tier is called {', '.join(MODALITIES)}")
    return Timeline.of_events(with_audio_visual(drop_derived(events)), path=path, duration=duration)


def drop_derived(events: Iterable[Event]) -> list[Event]:
    """Without audio-visual events of classes that are heard or seen: those may have been moved since."""
    events = list(events)
    own = {event.label for event in events if event.modality != "audio_visual"}
    return [event for event in events if event.modality != "audio_visual" or event.label not in own]
