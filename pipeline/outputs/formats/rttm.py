"""RTTM, the format of diarization and event scorers: one file per modality."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...event_limits import check_events
from ...tables import NumberReader, split_lines
from ...text import escape
from ...timeline import SINGLE_MODALITIES, Event, Modality, Timeline
from ..postprocess import split_modalities
from .tiers import to_timelines

SUFFIXES = ("audio.rttm", "visual.rttm")
_NONE = "<NA>"
_MIN_FIELDS = 8  # up to the class; score and lookahead may be missing
_MAX_FIELDS = 10
_EXAMPLE = "SPEAKER clip 1 0.000 2.000 <NA> <NA> Dog 0.9 <NA>"
_COMMENT = ";;"
_DECIMALS = 6  # of sums of seconds that are written with three


def write(timeline: Timeline) -> list[bytes]:
    """Write SPEAKER lines: file, channel, onset, duration, class, score. Whitespace in fields becomes underscores.

    Args:
        timeline: the events.

    Returns:
        The audio events and the visual events.
    """
    name = _field(timeline.name)
    return [
        "".join(
            f"SPEAKER {name} 1 {event.onset:.3f} {event.duration:.3f} <NA> <NA> {_field(event.label)}"
            f" {event.score:.6f} <NA>\n"
            for event in split_modalities(timeline.events)
            if event.modality == modality
        ).encode()
        for modality in SINGLE_MODALITIES
    ]


def _field(text: str) -> str:
    return re.sub(r"\s+", "_", escape(text.strip())) or _NONE


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the SPEAKER lines of both modalities, or of one, and add the audio-visual events.

    Lines of other types, and those without a duration, are skipped with a warning. Without a score, events have
    score 1.

    Args:
        contents: suffix -> text; the other file may be missing.
        name: name of the timeline where no line names a file.

    Returns:
        One timeline for each file that the lines name.

    Raises:
        ValueError: a SPEAKER line lacks a field or is not an event.
    """
    found: list[tuple[str, Event]] = []
    others, points = 0, 0
    for modality, suffix in zip(SINGLE_MODALITIES, SUFFIXES, strict=True):
        numbers = NumberReader(decimal_comma=False)
        for number, line in enumerate(split_lines(contents.get(suffix, "")), 1):
            fields = line.split(maxsplit=_MAX_FIELDS)
            if not fields or fields[0].startswith(_COMMENT):
                continue
            if fields[0] != "SPEAKER":
                others += 1
                continue
            try:
                check_events(found)
                event = _event(fields, modality, numbers)
            except ValueError as error:
                raise ValueError(f"{suffix}, line {number}: {error}") from error
            if event is None:
                points += 1
            else:
                found.append((name if fields[1] == _NONE else fields[1], event))
    events: dict[str, list[Event]] = {}
    for file, event in found:
        events.setdefault(file, []).append(event)
    counts = {"of other types than SPEAKER": others, "without a duration": points}
    warnings = tuple(f"lines {what} are left out: {count:,}" for what, count in counts.items() if count)
    return [replace(timeline, warnings=warnings) for timeline in to_timelines(events, name)]


def _event(fields: Sequence[str], modality: Modality, numbers: NumberReader) -> Event | None:
    """Return the event of a SPEAKER line, None for one without a duration. Raises ValueError."""
    if len(fields) < _MIN_FIELDS:
        raise ValueError(f"{len(fields)} fields, expected at least {_MIN_FIELDS}, as in {_EXAMPLE}")
    onset, duration = (numbers.parse("0" if text == _NONE else text) for text in fields[3:5])
    score = fields[8] if len(fields) > _MIN_FIELDS else _NONE
    label = "" if fields[7] == _NONE else fields[7]
    if not duration:
        return None
    offset = round(onset + duration, _DECIMALS)
    return Event(modality, label, onset, offset, 1.0 if score == _NONE else numbers.parse(score))
