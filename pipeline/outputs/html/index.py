"""The page that lists the pages of a folder of results."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...files import write_atomic
from ...text import escape
from ...timeline import MODALITIES, Timeline
from ..postprocess import merge_events, split_modalities
from .page import fill, read_web, to_script

INDEX = "index.html"
_COUNTS = dict(zip(MODALITIES, ("heard", "seen", "both"), strict=True))


def write_index(folder: Path, pages: Mapping[Path, Timeline], title: str) -> None:
    """Write `index.html`: pages in this folder and their timelines. Raises OutputError."""
    data = {
        "title": escape(title),
        "files": [_describe(page, timeline) for page, timeline in pages.items()],
        "classes": _count_classes(pages.values()),
    }
    parts = {
        "TITLE": html.escape(data["title"]),
        "STYLE": read_web("page.css"),
        "SCRIPT": read_web("index.js"),
        "DATA": to_script(data),
    }
    write_atomic(folder / INDEX, fill(read_web("index.html"), parts))


def _describe(page: Path, timeline: Timeline) -> dict[str, Any]:
    return {
        "name": escape(Path(str(timeline.media.get("path", timeline.name))).name),
        "url": quote(os.fsencode(page.name)),
        "duration": float(timeline.media["duration"]),
        "labels": sorted({event.label for event in timeline.events}),
        "warnings": len(timeline.warnings),
        **{word: sum(e.modality == modality for e in timeline.events) for modality, word in _COUNTS.items()},
    }


def _count_classes(timelines: Any) -> list[dict[str, Any]]:
    """For each class in how many files it is, its events, and the seconds that it is heard or seen."""
    found: dict[str, dict[str, Any]] = {}
    for timeline in timelines:
        for label in {event.label for event in timeline.events}:
            row = found.setdefault(
                label, {"label": label, "files": 0, "seconds": 0.0, **dict.fromkeys(_COUNTS.values(), 0)}
            )
            row["files"] += 1
        for event in timeline.events:
            found[event.label][_COUNTS[event.modality]] += 1
        either = [replace(event, modality="audio") for event in split_modalities(timeline.events)]
        for event in merge_events(either, 0.0):
            found[event.label]["seconds"] += event.duration
    return sorted(found.values(), key=lambda row: row["label"])
