"""RTTM, the format of diarisation and event scorers: a file for each modality."""

from __future__ import annotations

import re

from ...text import escape
from ...timeline import Timeline
from ..postprocess import split_modalities


def write(timeline: Timeline) -> list[bytes]:
    """SPEAKER lines: file, channel, onset, duration, class, score. Fields have no blanks: they become underscores."""
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
