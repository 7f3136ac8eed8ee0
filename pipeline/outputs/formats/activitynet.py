"""JSON of ActivityNet, the format of temporal action detection: one file per modality."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...event_limits import check_events, parse_event_json, read_number, shown
from ...text import shorten
from ...timeline import SINGLE_MODALITIES, Event, Modality, Timeline
from ..postprocess import split_modalities
from .tiers import to_timelines

SUFFIXES = ("audio.activitynet.json", "visual.activitynet.json")
_VERSION = "VERSION 1.3"
_DECIMALS = 6


def write(timeline: Timeline) -> list[bytes]:
    """Write detections, as the evaluation of ActivityNet reads them.

    Args:
        timeline: the events.

    Returns:
        The audio detections and the visual detections.
    """
    events = split_modalities(timeline.events)
    return [
        _write(timeline.name, [event for event in events if event.modality == modality])
        for modality in SINGLE_MODALITIES
    ]


def _write(name: str, events: list[Event]) -> bytes:
    detections = (
        json.dumps(
            {"label": event.label, "score": round(event.score, _DECIMALS), "segment": [event.onset, event.offset]}
        )
        for event in events
    )
    head = f'{{\n "version": {json.dumps(_VERSION)},\n "results": {{\n  {json.dumps(name)}: ['
    body = ",".join(f"\n   {detection}" for detection in detections)
    return f'{head}{body}\n  ]\n }},\n "external_data": {{}}\n}}\n'.encode("ascii")


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read detections (`results`) or annotations (`database`), and add the audio-visual events.

    Args:
        contents: suffix -> text; the other file may be missing.
        name: name of the timeline where the files name no video.

    Returns:
        One timeline for each video; annotations may state its duration.

    Raises:
        ValueError: the content is not in the format.
    """
    events: dict[str, list[Event]] = {}
    durations: dict[str, float] = {}
    total: list[Event] = []
    for modality, suffix in zip(SINGLE_MODALITIES, SUFFIXES, strict=True):
        for video, entries, duration in _videos(contents[suffix], suffix) if suffix in contents else ():
            of_video = events.setdefault(video, [])
            if duration is not None:
                durations[video] = duration
            for entry in entries:
                check_events(total)
                try:
                    total.append(_event(entry, modality))
                except ValueError as error:
                    raise ValueError(f"{suffix}: {shorten(video)}: {error}") from error
                of_video.append(total[-1])
    return to_timelines(events, name, durations)


def _videos(text: str, suffix: str) -> Iterator[tuple[str, list[Any], float | None]]:
    """Yield the name of each video, its detections or annotations, and its duration. Raises ValueError."""
    document = parse_event_json(text)
    keys = [key for key in ("results", "database") if isinstance(document, dict) and key in document]
    if not keys or not isinstance(document[keys[0]], dict):
        raise ValueError(f'{suffix}: expected an object with "results" or "database"')
    for video, value in document[keys[0]].items():
        entries, duration = value, None
        if isinstance(value, dict):
            entries, duration = value.get("annotations", []), value.get("duration")
        if not isinstance(entries, list):
            raise ValueError(f"{suffix}: {shorten(video)}: expected a list of segments")
        yield video, entries, None if duration is None else read_number(duration, f"{suffix}: a duration")


def _event(entry: Any, modality: Modality) -> Event:
    """Return the event of a segment. Raises ValueError."""
    segment, label = (entry.get(key) for key in ("segment", "label")) if isinstance(entry, dict) else (None, None)
    if not isinstance(segment, list) or len(segment) != len(("onset", "offset")) or not isinstance(label, str):
        raise ValueError(f"{shown(entry)} has no label and no segment of two times")
    onset, offset = (read_number(time, "a time") for time in segment)
    return Event(modality, label, onset, offset, read_number(entry.get("score", 1.0), "a score"))
