"""Timelines as JSON documents, specified by `events.schema.json` in this folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...event_limits import parse_event_json
from ...segments import MAX_MEDIA_SECONDS
from ...timeline import MAX_EVENTS, Event, Modality, SegmentProbabilities, Timeline

SCHEMA_VERSION = "1.3"
_DECIMALS = 6
MAX_NOTES = 1_000  # warnings, and likewise processing steps
MAX_NOTE = 10_000  # characters of a warning
_ROUNDED_UP = 1.0  # seconds by which the number of segments may exceed the duration


def to_document(timeline: Timeline, *, segments: bool = False) -> dict[str, Any]:
    """Convert a timeline to a JSON-serializable document.

    Args:
        timeline: the events and everything known about them.
        segments: include the per-second probabilities, where the timeline has them.

    Returns:
        A mapping that is valid by the schema.
    """
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "media": {**timeline.media, "segments": timeline.segments},
        "provenance": dict(timeline.provenance),
        "warnings": list(timeline.warnings),
        "labels": list(timeline.labels),
        "events": [event_fields(event) for event in timeline.events],
    }
    if timeline.processing:
        document["processing"] = [dict(step) for step in timeline.processing]
    if segments and timeline.probabilities is not None:
        document["segments"] = {
            name: np.round(rows.astype(np.float64), _DECIMALS).tolist()  # of float32, as Python rounds each
            for name, rows in timeline.probabilities.arrays().items()
        }
    return document


def to_json(timeline: Timeline, *, segments: bool = False) -> bytes:
    """Convert a timeline to the text of a JSON document.

    Args:
        timeline: the events and everything known about them.
        segments: include the per-second probabilities, where the timeline has them.

    Returns:
        ASCII text, valid UTF-8. Bytes of file names that are not text are escaped as by Python's surrogateescape.
    """
    document = to_document(replace(timeline, events=()), segments=segments)
    tables = document.pop("segments", None)
    text = json.dumps(document, indent=2, allow_nan=False)
    # Events and tables are written here: with `indent`, the encoder takes a second for 60,000 events, and for an hour.
    if timeline.events:
        labels = {label: json.dumps(label) for label in {event.label for event in timeline.events}}
        events = ",\n".join(
            f'    {{\n      "modality": "{event.modality}",\n      "label": {labels[event.label]},\n'
            f'      "onset": {_number(event.onset)},\n      "offset": {_number(event.offset)},\n'
            f'      "score": {_number(round(event.score, _DECIMALS))}{_comment(event)}\n    }}'
            for event in timeline.events
        )
        text = text.replace('\n  "events": []', f'\n  "events": [\n{events}\n  ]', 1)
    if tables is not None:
        written = ",\n".join(f'    "{name}": {_table(rows)}' for name, rows in tables.items())
        text = text.removesuffix("\n}") + f',\n  "segments": {{\n{written}\n  }}\n}}'
    return (text + "\n").encode("ascii")


def _table(rows: list[list[float]]) -> str:
    """Return a table of finite numbers as the encoder writes it in the third level of a document."""
    lines = (",\n        ".join(map(float.__repr__, row)) for row in rows)
    return "[\n" + ",\n".join(f"      [\n        {line}\n      ]" if line else "      []" for line in lines) + "\n    ]"


def event_fields(event: Event) -> dict[str, Any]:
    """Return an event as a JSON-serializable object, with a comment only where it has one."""
    fields = {**asdict(event), "score": round(event.score, _DECIMALS)}
    if not event.comment:
        del fields["comment"]
    return fields


def _comment(event: Event) -> str:
    return f',\n      "comment": {json.dumps(event.comment)}' if event.comment else ""


def _number(value: float) -> str:
    return float.__repr__(value) if isinstance(value, float) else json.dumps(value)


def write(timeline: Timeline) -> list[bytes]:
    """Write a document with per-second probabilities, where the timeline has them.

    Args:
        timeline: the events and everything known about them.

    Returns:
        The content of one file.
    """
    return [to_json(timeline, segments=True)]


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read a document of this or another program; only `events` is required.

    Args:
        contents: the text of one file.
        name: name of the timeline where the document does not name the media.

    Returns:
        One timeline.

    Raises:
        ValueError: the document is not valid.
    """
    (text,) = contents.values()
    return [from_document(parse_event_json(text), name)]


def from_document(document: Any, name: str) -> Timeline:
    """Convert a parsed JSON document to a timeline.

    Args:
        document: any JSON value.
        name: path of the media where the document has none.

    Raises:
        ValueError: the document is not valid.
    """
    if not isinstance(document, dict) or not isinstance(document.get("events"), list):
        raise ValueError('expected an object with a list "events"')
    if len(document["events"]) > MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS:,} events")
    events = [_event(entry) for entry in document["events"]]
    labels, media = document.get("labels"), document.get("media", {})
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise ValueError("labels is not a list of strings")
    if labels is not None and len(set(labels)) < len(labels):
        raise ValueError("labels has a class twice")
    if not isinstance(media, dict):
        raise ValueError("media is not an object")
    path, duration, segments = media.get("path"), media.get("duration"), media.get("segments")
    if path is not None and not isinstance(path, str):
        raise ValueError("media.path is not a string")
    for key, value in (("duration", duration), ("segments", segments)):
        _check_seconds(f"media.{key}", value)
    _check_part(media.get("parsed"))
    timeline = Timeline.of_events(events, path=path or name, duration=duration, labels=labels)
    if segments is not None and duration is not None and segments > timeline.media["duration"] + _ROUNDED_UP:
        raise ValueError(f"media.segments is {segments:g}, more than media.duration, {duration:g} seconds")
    return replace(
        timeline,
        media={**media, **timeline.media},
        probabilities=_probabilities(document.get("segments"), timeline),
        provenance=_mapping(document, "provenance"),
        warnings=tuple(map(_warning, _list(document, "warnings"))),
        processing=tuple(_step(entry) for entry in _list(document, "processing")),
    )


def _check_seconds(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} is {value!r}, expected a number of seconds, at least 0")
    if value > MAX_MEDIA_SECONDS:
        raise ValueError(f"{name} is {float(value):g}, which is more than {MAX_MEDIA_SECONDS // 3600} hours")


def _check_part(value: Any) -> None:
    if value is None:
        return
    numbers = value if isinstance(value, list) and all(type(number) is int for number in value) else []
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1] <= MAX_MEDIA_SECONDS:
        raise ValueError(f"media.parsed is {value!r}, expected two whole numbers of seconds, ascending")


def _event(entry: Any) -> Event:
    try:
        modality, label, onset, offset = (entry[key] for key in ("modality", "label", "onset", "offset"))
        score, comment = entry.get("score", 1.0), entry.get("comment", "")
        if not all(isinstance(text, str) for text in (label, modality, comment)):
            raise TypeError
        return Event(cast("Modality", modality), label, float(onset), float(offset), float(score), comment)
    except KeyError as error:
        raise ValueError(f"an event has no {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{entry!r} is not an event") from error


def _warning(entry: Any) -> str:
    if not isinstance(entry, str) or len(entry) > MAX_NOTE:
        raise ValueError(f"a warning is not a string of at most {MAX_NOTE:,} characters")
    return entry


def _step(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("step"), str):
        raise ValueError(f"{entry!r} is not a processing step")
    return entry


def _probabilities(tables: Any, timeline: Timeline) -> SegmentProbabilities | None:
    if tables is None:
        return None
    try:
        arrays = {key: np.array(rows, np.float64) for key, rows in tables.items()}
        if not all(np.all((array >= 0) & (array <= 1)) for array in arrays.values()):  # others may overflow float32
            raise ValueError("probabilities in segments are not all in [0, 1]")
        probabilities = SegmentProbabilities(**{key: array.astype(np.float32) for key, array in arrays.items()})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"segments is not an object of probability tables: {error}") from error
    shape = probabilities.audio.shape
    if len(shape) != 2 or not shape[0] or not bool(timeline.labels) <= shape[1] <= len(timeline.labels):
        raise ValueError(f"tables in segments are {shape}, expected (seconds, at most {len(timeline.labels)} classes)")
    if shape[0] > MAX_MEDIA_SECONDS:
        raise ValueError(f"tables in segments have more than {MAX_MEDIA_SECONDS // 3600} hours")
    return probabilities


def _mapping(document: dict[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    return value if isinstance(value, dict) else {}


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key, [])
    if isinstance(value, list) and len(value) > MAX_NOTES:
        raise ValueError(f"{key} has {len(value):,} entries, more than {MAX_NOTES:,}")
    return value if isinstance(value, list) else []


def load_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of the document."""
    return json.loads(Path(__file__).with_name("events.schema.json").read_text(encoding="utf-8"))
