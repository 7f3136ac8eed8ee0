"""Audacity label tracks: one file per modality, lines of `onset TAB offset TAB label`."""

from __future__ import annotations

from collections.abc import Mapping

from ...event_limits import check_events
from ...tables import NumberReader, split_lines
from ...text import encode_text
from ...timeline import MODALITIES, Event, Timeline
from ..postprocess import with_audio_visual
from .tiers import drop_derived

SUFFIXES = tuple(f"{modality}.txt" for modality in MODALITIES)
_WITHOUT_SEPARATORS = str.maketrans("\t\n\r", "   ")
_MIN_COLUMNS = 2


def write(timeline: Timeline) -> list[bytes]:
    """Write one label track per modality, seconds with six decimals, as Audacity exports them.

    Args:
        timeline: the events; tabs and newlines in labels become spaces.

    Returns:
        The contents of the files, in the order of `SUFFIXES`.
    """
    return [
        encode_text(
            "".join(
                f"{event.onset:.6f}\t{event.offset:.6f}\t{event.label.translate(_WITHOUT_SEPARATORS)}\n"
                for event in timeline.events
                if event.modality == modality
            )
        )
        for modality in MODALITIES
    ]


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read label tracks; point labels and the lines of a spectral selection are skipped.

    Audio-visual events are computed anew from the audio and visual ones, which the user may have moved. Times may have
    decimal commas, as Audacity writes them in some languages.

    Args:
        contents: suffix -> text of the files that exist.
        name: name of the timeline.

    Returns:
        One timeline.

    Raises:
        ValueError: a line is not a label.
    """
    events: list[Event] = []
    for modality, suffix in zip(MODALITIES, SUFFIXES, strict=True):
        numbers = NumberReader(decimal_comma=True)
        for number, line in enumerate(split_lines(contents.get(suffix, "")), 1):
            values = line.split("\t", 2)
            if not line.strip() or values[0] == "\\":
                continue
            try:
                if len(values) < _MIN_COLUMNS:
                    raise ValueError("expected onset, offset and label, separated by tabs")
                onset, offset = numbers.parse(values[0]), numbers.parse(values[1])
                if onset != offset:
                    check_events(events)
                    label = values[_MIN_COLUMNS] if len(values) > _MIN_COLUMNS else ""
                    events.append(Event(modality, label, onset, offset, 1.0))
            except ValueError as error:
                raise ValueError(f"{suffix}, line {number}: {error}") from error
    return [Timeline.of_events(with_audio_visual(drop_derived(events)), path=name)]
