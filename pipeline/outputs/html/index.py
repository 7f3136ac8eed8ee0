"""Index page that links the pages of a folder of results."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...files import write_atomic
from ...text import escape
from ...timeline import MODALITIES, Timeline
from ..postprocess import merge_events, split_modalities
from .page import fill_template, json_for_script, read_web

INDEX = "index.html"
_COUNT_KEYS = dict(zip(MODALITIES, ("heard", "seen", "both"), strict=True))


def write_index(folder: Path, pages: Mapping[Path, Timeline], title: str) -> None:
    """Write `index.html`, which lists pages with their events and all classes.

    Args:
        folder: where the index is written.
        pages: page in `folder` -> its timeline.
        title: of the index.

    Raises:
        OutputError: the file cannot be written.
    """
    data = {
        "title": escape(title),
        "files": [_describe(page, timeline) for page, timeline in pages.items()],
        "classes": _count_classes(pages.values()),
    }
    parts = {
        "TITLE": html.escape(data["title"]),
        "STYLE": read_web("page.css"),
        "SCRIPT": read_web("index.js"),
        "DATA": json_for_script(data),
    }
    write_atomic(folder / INDEX, fill_template(read_web("index.html"), parts))


def _describe(page: Path, timeline: Timeline) -> dict[str, Any]:
    return {
        "name": escape(Path(str(timeline.media.get("path", timeline.name))).name),
        "url": quote(os.fsencode(page.name)),
        "duration": float(timeline.media["duration"]),
        "labels": sorted({event.label for event in timeline.events}),
        "warnings": len(timeline.warnings),
        **{key: sum(e.modality == modality for e in timeline.events) for modality, key in _COUNT_KEYS.items()},
    }


def _count_classes(timelines: Iterable[Timeline]) -> list[dict[str, Any]]:
    """Count files, events per modality, and seconds with an event of either modality, for each class."""
    rows: dict[str, dict[str, Any]] = {}
    for timeline in timelines:
        for label in {event.label for event in timeline.events}:
            row = rows.setdefault(
                label, {"label": label, "files": 0, "seconds": 0.0, **dict.fromkeys(_COUNT_KEYS.values(), 0)}
            )
            row["files"] += 1
        for event in timeline.events:
            rows[event.label][_COUNT_KEYS[event.modality]] += 1
        either_modality = [replace(event, modality="audio") for event in split_modalities(timeline.events)]
        for event in merge_events(either_modality, 0.0):
            rows[event.label]["seconds"] += event.duration
    return sorted(rows.values(), key=lambda row: row["label"])
