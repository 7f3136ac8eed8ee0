"""Index page that links the pages of a folder of results."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...files import write_atomic
from ...text import display_label, escape
from ...timeline import MODALITIES, Event, Timeline
from .page_data import displayed_events
from .thumbnails import thumbnail_path
from .web_files import NO_FORMS, fill_template, json_for_script, own_sources, read_web

INDEX = "index.html"


def write_index(folder: Path, pages: Mapping[Path, Timeline], title: str, *, pictured: Collection[Path] = ()) -> None:
    """Write `index.html`, which lists pages with their events and all classes.

    Args:
        folder: where the index is written.
        pages: page in `folder` -> its timeline.
        title: of the index.
        pictured: pages that have a thumbnail.

    Raises:
        OutputError: the file cannot be written.
    """
    labels = sorted({event.label for timeline in pages.values() for event in timeline.events})
    places = {label: index for index, label in enumerate(labels)}
    with_picture = frozenset(pictured)
    data = {
        "title": escape(title),
        "classes": [[escape(label), display_label(label)] for label in labels],
        "files": [_describe(page, timeline, places, page in with_picture) for page, timeline in pages.items()],
    }
    style = read_web("page.css") + read_web("index.css")
    script = f"(() => {{\n{read_web('basics.js')}{read_web('index.js')}}})();"
    parts = {
        "TITLE": html.escape(data["title"]),
        "CSP": f"default-src 'none'; {own_sources(script, style)}; img-src 'self'; {NO_FORMS}",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": json_for_script(data),
    }
    write_atomic(folder / INDEX, fill_template(read_web("index.html"), parts))


def _describe(page: Path, timeline: Timeline, places: Mapping[str, int], has_picture: bool) -> list[Any]:
    """Return name, address, seconds, number of warnings, address of the picture or "", and rows of `_class_rows`."""
    picture = thumbnail_path(page).relative_to(page.parent)
    return [
        escape(Path(str(timeline.media.get("path", timeline.name))).name),
        quote(os.fsencode(page.name)),
        round(float(timeline.media["duration"]), 3),
        len(timeline.warnings),
        quote(os.fsencode(picture)) if has_picture else "",
        _class_rows(displayed_events(timeline), places),
    ]


def _class_rows(events: Collection[Event], places: Mapping[str, int]) -> list[list[float]]:
    """Return, for each class with events: its place; its events per modality; seconds per modality, and of any."""
    of_class: dict[str, list[Event]] = {}
    for event in events:
        of_class.setdefault(event.label, []).append(event)
    rows = []
    for label, found in of_class.items():
        counts = [sum(event.modality == modality for event in found) for modality in MODALITIES]
        seconds = [_covered(event for event in found if event.modality == modality) for modality in MODALITIES]
        rows.append([places[label], *counts, *seconds, _covered(found)])
    return sorted(rows)


def _covered(events: Iterable[Event]) -> float:
    """Return the seconds that events cover together, overlaps counted once."""
    total, end = 0.0, 0.0
    for onset, offset in sorted((event.onset, event.offset) for event in events):
        total += max(0.0, offset - max(onset, end))
        end = max(end, offset)
    return round(total, 3)
