"""RTTM, the format of diarization and event scorers: one file per modality."""

from __future__ import annotations

import re

from ...text import escape
from ...timeline import Timeline
from ..postprocess import split_modalities


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
        for modality in ("audio", "visual")
    ]


def _field(text: str) -> str:
    return re.sub(r"\s+", "_", escape(text.strip())) or "<NA>"
