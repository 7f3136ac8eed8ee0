"""OpenTimelineIO, the exchange format of video editors: the whole media with a marker per event.

Editors that read it show the markers on the video, which is not cut. OpenTimelineIO's own programs make EDL and FCPXML
of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from ...event_limits import check_events, parse_event_json, read_number, shown
from ...timeline import MODALITIES, Event, Modality, Timeline
from .tiers import find_modality, media_name, to_timelines

MAX_NODES = 3_000_000  # objects, lists and keys of a file; a marker has about 25
FRAME_RATE = 25.0  # of the times, where that of the video is not known; they need not be whole frames
_COLORS: Mapping[Modality, str] = {"audio": "CYAN", "visual": "ORANGE", "audio_visual": "GREEN"}
_KINDS: Mapping[str, Modality] = {"Audio": "audio", "Video": "visual"}
_MEDIA_KEY = "DEFAULT_MEDIA"
_DECIMALS = 6  # of scores, and of seconds, which are stored as frames


def write(timeline: Timeline) -> list[bytes]:
    """Write a video and an audio track with one clip each; the clip of the video has a marker per event.

    A marker has the name of the class, a colour for its modality, and modality, score and comment of the event. They
    are on one clip because EDL keeps those of the video only.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    rate = _frame_rate(timeline)
    tracks = [
        _object("Track.1", {"name": kind, "kind": kind}, children=_list([_clip(timeline, events, rate)], 2))
        for kind, events in (("Video", timeline.events), ("Audio", ()))
    ]
    stack = _object("Stack.1", {"name": "tracks"}, children=_list(tracks, 1))
    return [_object("Timeline.1", {"name": timeline.name}, tracks=stack).encode("ascii") + b"\n"]


def _clip(timeline: Timeline, events: Iterable[Event], rate: float) -> str:
    whole = _range(0.0, timeline.media["duration"], rate)
    media = {"target_url": _url(timeline), "available_range": whole}
    references = {_MEDIA_KEY: {"OTIO_SCHEMA": "ExternalReference.1", **media}}
    fields = {"name": timeline.name, "source_range": whole, "active_media_reference_key": _MEDIA_KEY}
    return _object(
        "Clip.2", {**fields, "media_references": references}, markers=_list((_marker(e, rate) for e in events), 3)
    )


def _marker(event: Event, rate: float) -> str:
    comment = {"comment": event.comment} if event.comment else {}
    metadata = {"avvp": {"modality": event.modality, "score": round(event.score, _DECIMALS)}}
    span = _range(event.onset, event.duration, rate)
    color = _COLORS[event.modality]
    return _object(
        "Marker.2", {"name": event.label, "color": color, "marked_range": span, "metadata": metadata, **comment}
    )


def _range(start: float, duration: float, rate: float) -> dict[str, Any]:
    times = {"start_time": start, "duration": duration}
    return {
        "OTIO_SCHEMA": "TimeRange.1",
        **{key: {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": time * rate} for key, time in times.items()},
    }


def _object(schema: str, fields: Mapping[str, Any], **texts: str) -> str:
    """Return JSON of an object: its fields, then those whose values are JSON already."""
    head = json.dumps({"OTIO_SCHEMA": schema, **fields})
    return head[:-1] + "".join(f', "{key}": {text}' for key, text in texts.items()) + "}"


def _list(items: Iterable[str], depth: int) -> str:
    """Return a JSON list with an item per line."""
    indent = "\n" + " " * depth
    text = ",".join(indent + item for item in items)
    return f"[{text}{indent[:-1]}]" if text else "[]"


def _url(timeline: Timeline) -> str:
    """Return the address of the media; its name alone where the path was read from a file."""
    path = Path(str(timeline.media.get("path", "")))
    known = timeline.media_is_known and path.is_absolute()
    return path.as_uri() if known else quote(path.name, errors="surrogatepass")


def _frame_rate(timeline: Timeline) -> float:
    rate = timeline.media.get("frame_rate")
    return float(rate) if isinstance(rate, int | float) and 1 <= rate <= 1_000 else FRAME_RATE


@dataclass
class _Found:
    """What the clips of a file hold, by the name of their media."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    all_events: list[Event] = field(default_factory=list)
    points: int = 0  # markers without a duration


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the markers of the clips in a timeline, or in a collection of timelines, and add the audio-visual events.

    Times are those of the media, wherever the clip is in the timeline. A marker without a modality of its own, as
    editors write it, has the one that the name of its track begins with, else that of its colour, if it is one of
    those that are written, else that of the kind of its track. Markers of a timeline or a track are on its own clock.
    Without a score, events have score 1.

    Args:
        contents: the text of one file.
        name: name of the timeline whose clips name no media.

    Returns:
        One timeline for each media file.

    Raises:
        ValueError: the content is not OpenTimelineIO, or a marker is not an event.
    """
    (text,) = contents.values()
    document = parse_event_json(text, most_nodes=MAX_NODES)
    if not isinstance(document, dict) or _schema(document) not in {"Timeline", "SerializableCollection"}:
        raise ValueError('expected an object with "OTIO_SCHEMA": "Timeline.1"')
    found = _Found()
    _read_item(document, _Place(name), found)
    warnings = (f"markers without a duration are left out: {found.points:,}",) if found.points else ()
    return [replace(timeline, warnings=warnings) for timeline in to_timelines(found.events, name, found.durations)]


@dataclass(frozen=True)
class _Place:
    """Where an item is.

    Attributes:
        media: name of the media of the clip around it, or of the timeline.
        named: the modality that the name of its track begins with.
        kind: the modality of its kind of track.
        start: seconds at which the clock of its media begins.
    """

    media: str
    named: Modality | None = None
    kind: Modality = "audio_visual"
    start: float = 0.0


def _read_item(item: Mapping[str, Any], place: _Place, found: _Found) -> None:
    """Add the events of an item and of those in it. Raises ValueError."""
    schema = _schema(item)
    if schema == "Track":
        named, kind = find_modality(str(item.get("name", ""))), _KINDS.get(str(item.get("kind")), "audio_visual")
        place = replace(place, named=named, kind=kind)
    elif schema == "Clip":
        place = _clip_place(item, place, found)
    for marker in _objects(item.get("markers"), "markers"):
        check_events(found.all_events)
        if (event := _event(marker, place)) is None:
            found.points += 1
            continue
        found.all_events.append(event)
        found.events.setdefault(place.media, []).append(event)
    below = item.get("tracks")
    for child in [below] if isinstance(below, dict) else _objects(item.get("children"), "children"):
        _read_item(child, place, found)


def _clip_place(clip: Mapping[str, Any], place: _Place, found: _Found) -> _Place:
    """Return the place of what is in a clip, and add its media. Raises ValueError."""
    reference, start = _media(clip), 0.0
    media = _file_name(reference) or place.media
    found.events.setdefault(media, [])
    if isinstance(available := reference.get("available_range"), dict):
        start, found.durations[media] = _span(available)
    return replace(place, media=media, start=start)


def _event(marker: Mapping[str, Any], place: _Place) -> Event | None:
    """Return the event of a marker, None for one without a duration. Raises ValueError."""
    metadata = marker.get("metadata")
    own = metadata.get("avvp") if isinstance(metadata, dict) else None
    own = own if isinstance(own, dict) else {}
    given, color = own.get("modality"), marker.get("color")
    own_modality = given if given in MODALITIES else None
    coloured = next((modality for modality, name in _COLORS.items() if name == color), None)
    start, duration = _span(marker.get("marked_range"))
    label, comment = marker.get("name"), marker.get("comment")
    if not isinstance(label, str):
        raise ValueError(f"the name of a marker is {shown(label)}, expected text")
    onset, offset = (round(time - place.start, _DECIMALS) for time in (start, start + duration))
    score = read_number(own.get("score", 1.0), "a score")
    if onset == offset:
        return None
    modality = cast("Modality", own_modality or place.named or coloured or place.kind)
    return Event(modality, label, onset, offset, score, comment if isinstance(comment, str) else "")


def _span(value: Any) -> tuple[float, float]:
    """Return start and duration of a range in seconds. Raises ValueError."""
    start, duration = (value.get(key) if isinstance(value, dict) else None for key in ("start_time", "duration"))
    if not isinstance(start, dict) or not isinstance(duration, dict):
        raise ValueError(f"{shown(value)} is not a range with start_time and duration")
    return _seconds(start), _seconds(duration)


def _seconds(time: Mapping[str, Any]) -> float:
    rate = read_number(time.get("rate"), "a rate")
    if rate <= 0:
        raise ValueError(f"a rate is {rate:g}, expected a positive number")
    return read_number(time.get("value"), "a time") / rate


def _media(clip: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the reference to the media of a clip, of schema Clip.1 or Clip.2; an empty mapping where it has none."""
    references = clip.get("media_references")
    reference = clip.get("media_reference")
    if isinstance(references, dict):
        reference = references.get(str(clip.get("active_media_reference_key", _MEDIA_KEY)))
    return reference if isinstance(reference, dict) else {}


def _file_name(reference: Mapping[str, Any]) -> str:
    url = reference.get("target_url")
    return media_name(url) if isinstance(url, str) else ""


def _objects(value: Any, name: str) -> Iterator[dict[str, Any]]:
    for item in value or () if isinstance(value, list | None) else (value,):
        if not isinstance(item, dict):
            raise ValueError(f"{shown(item)} in {name} is not an object")
        yield item


def _schema(item: Mapping[str, Any]) -> str:
    """Return the name of an object's schema without its version."""
    return str(item.get("OTIO_SCHEMA", "")).partition(".")[0]
