"""The two dense annotation files of LLP: what is heard and what is seen, in whole seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...datasets.annotations import EVENT_COLUMNS, EVENT_FILES
from ...segments import runs
from ...timeline import Event, Modality, Timeline
from ..postprocess import with_audio_visual

SUFFIXES = ("eval_audio.csv", "eval_visual.csv")
_MODALITIES: tuple[Modality, Modality] = ("audio", "visual")
_TIDY = str.maketrans("\t\n\r", "   ")
assert all(file.endswith(suffix) for file, suffix in zip(EVENT_FILES.values(), SUFFIXES, strict=True))


def write(timeline: Timeline) -> list[bytes]:
    """A second is active where events of the class cover at least half of it."""
    return [_write(timeline, table) for table in timeline.per_second_labels(timeline.labels)]


def _write(timeline: Timeline, table: NDArray[np.bool_]) -> bytes:
    name = timeline.name.translate(_TIDY)
    lines = ["\t".join(EVENT_COLUMNS)]
    for index, label in enumerate(timeline.labels):
        lines += [f"{name}\t{start}\t{stop}\t{label.translate(_TIDY)}" for start, stop in runs(table[:, index])]
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
    return [Timeline.of_events(with_audio_visual(own), path=clip) for clip, own in (events or {name: []}).items()]
