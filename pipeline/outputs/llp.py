"""The two dense annotation files of LLP: what is heard and what is seen, in whole seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..annotations import EVENT_COLUMNS, EVENT_FILES
from ..segments import covered_seconds, runs
from ..timeline import Event, Modality, Timeline
from .refine import both_events, sensed

SUFFIXES = ("eval_audio.csv", "eval_visual.csv")
_MODALITIES: tuple[Modality, Modality] = ("audio", "visual")
_TIDY = str.maketrans("\t\n\r", "   ")
assert all(file.endswith(suffix) for file, suffix in zip(EVENT_FILES.values(), SUFFIXES, strict=True))


def write(timeline: Timeline) -> list[bytes]:
    """A second is active where events of the class cover at least half of it."""
    return [_write(timeline, modality) for modality in _MODALITIES]


def _write(timeline: Timeline, modality: Modality) -> bytes:
    length = max([timeline.segments, *(math.ceil(event.offset) for event in timeline.events)])
    spans: dict[str, list[tuple[float, float]]] = {}
    for event in sensed(timeline.events):
        if event.modality == modality:
            spans.setdefault(event.label, []).append((event.onset, event.offset))
    lines = ["\t".join(EVENT_COLUMNS)]
    name = timeline.name.translate(_TIDY)
    for label in timeline.labels:
        for start, stop in runs(covered_seconds(spans[label], length)) if label in spans else ():
            lines.append(f"{name}\t{start}\t{stop}\t{label.translate(_TIDY)}")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def read(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """A timeline for each clip that the files name; what is heard and seen at once is added. Raises ValueError."""
    events: dict[str, list[Event]] = {}
    for modality, suffix in zip(_MODALITIES, SUFFIXES, strict=True):
        lines = contents.get(suffix, b"").decode("utf-8-sig").replace("\r\n", "\n").split("\n")
        header = lines[0].split("\t")
        if suffix in contents and (missing := [column for column in EVENT_COLUMNS if column not in header]):
            raise ValueError(f"no column {', '.join(missing)} between tabs")
        places = [header.index(column) for column in EVENT_COLUMNS] if suffix in contents else []
        for number, line in enumerate(lines[1:], 2):
            values = line.split("\t")
            if not line.strip():
                continue
            if len(values) != len(header):
                raise ValueError(f"line {number}: {len(values)} columns, expected {len(header)}")
            clip, onset, offset, label = (values[place] for place in places)
            try:
                event = Event(modality, label, float(onset), float(offset), 1.0)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            events.setdefault(clip, []).append(event)
    return [Timeline.of_events(both_events(own), path=clip) for clip, own in (events or {name: []}).items()]
