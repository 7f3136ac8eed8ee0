"""The two dense annotation files of LLP: audio events and visual events in whole seconds."""

from __future__ import annotations

from collections.abc import Mapping

from ...datasets.annotations import EVENT_COLUMNS, EVENT_FILES, read_table
from ...datasets.write_annotations import format_events
from ...tables import NumberReader
from ...timeline import Event, Modality, Timeline
from ..postprocess import with_audio_visual

SUFFIXES = ("eval_audio.csv", "eval_visual.csv")
_MODALITIES: tuple[Modality, Modality] = ("audio", "visual")
_WITHOUT_SEPARATORS = str.maketrans("\t\n\r", "   ")
assert all(file.endswith(suffix) for file, suffix in zip(EVENT_FILES.values(), SUFFIXES, strict=True))


def write(timeline: Timeline) -> list[bytes]:
    """Write the audio table and the visual table of one clip.

    A class is active in a second where its events cover at least half of it. Tabs and newlines in names become spaces.

    Args:
        timeline: the clip's events.

    Returns:
        The content of both files, in the order of `SUFFIXES`.
    """
    clip = timeline.name.translate(_WITHOUT_SEPARATORS)
    labels = [label.translate(_WITHOUT_SEPARATORS) for label in timeline.labels]
    return [
        format_events({clip: table}, labels).encode("utf-8", "backslashreplace")
        for table in timeline.per_second_labels(timeline.labels)
    ]


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the tables of both modalities, or of one, and add the audio-visual events.

    Args:
        contents: suffix -> text; the other file may be missing.
        name: name of the timeline where the tables have no rows.

    Returns:
        One timeline for each clip that the tables name.

    Raises:
        ValueError: a table lacks a column or has a row that is not an event.
    """
    events: dict[str, list[Event]] = {}
    problems: list[str] = []
    for modality, suffix in zip(_MODALITIES, SUFFIXES, strict=True):
        numbers = NumberReader(decimal_comma=True)
        rows = read_table(contents[suffix], suffix, EVENT_COLUMNS, problems) if suffix in contents else ()
        for line, (clip, onset, offset, label) in rows:
            try:
                event = Event(modality, label, numbers.parse(onset), numbers.parse(offset), 1.0)
            except ValueError as error:
                raise ValueError(f"{suffix}:{line}: {error}") from error
            events.setdefault(clip, []).append(event)
    if problems:
        raise ValueError(problems[0])
    return [
        Timeline.of_events(with_audio_visual(clip_events), path=clip)
        for clip, clip_events in (events or {name: []}).items()
    ]
