"""A page that plays a video beside its timeline: one file, nothing fetched, everything from strangers shown as text."""

from __future__ import annotations

import base64
import html
import json
import mimetypes
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ...errors import MediaError, SetupError
from ...files import AUDIO_SUFFIXES, is_file, write_atomic
from ...segments import runs
from ...text import escape
from ...timeline import MODALITIES, Event, GroundTruth, Timeline, sort_events
from ..formats.events_json import to_document
from ..postprocess import PostProcessing, split_modalities

PAGE_SUFFIXES = (".html", ".htm")
EMBED_LIMIT = 64 << 20  # bytes of a video inside a page; browsers get slow beyond
_WEB = Path(__file__).with_name("web")
_SCRIPTS = ("events.js", "timeline.js", "editing.js", "page.js")


def write_page(
    timeline: Timeline, path: Path, *, media: Path | None = None, truth: GroundTruth | None = None, embed: bool = False
) -> None:
    """Write the page of a timeline.

    media: the file to play, referred to by its path from the page, or, with `embed`, inside it. truth: shown below the
    events. Raises SetupError for a file too large to embed, MediaError where it cannot be read, OutputError.
    """
    write_atomic(path, render_page(timeline, path, media=media, truth=truth, embed=embed))


def is_ours(path: Path) -> bool:
    """Whether a page was written by this program."""
    try:
        with path.open("rb") as file:
            return b'<meta name="generator" content="avvp">' in file.read(4096)
    except OSError:
        return False


def check_embeddable(media: Path) -> None:
    """Raises SetupError for a file too large to stand in a page."""
    size = media.stat().st_size if is_file(media) else 0
    if size > EMBED_LIMIT:
        raise SetupError(
            f"{escape(media)}: has {size >> 20} MiB, more than the {EMBED_LIMIT >> 20} that a page may hold;"
            " without --embed-video the page plays the file from where it is"
        )


def render_page(
    timeline: Timeline, path: Path, *, media: Path | None = None, truth: GroundTruth | None = None, embed: bool = False
) -> bytes:
    """The page as UTF-8; path: where it will be, for the way to the media."""
    data = page_data(timeline, truth)
    data["media"] = None if media is None else _player(media, path, embed=embed)
    parts = {
        "TITLE": html.escape(f"{data['name']} · events"),
        "STYLE": read_web("page.css"),
        "SCRIPT": "".join(read_web(name) for name in _SCRIPTS),
        "DATA": to_script(data),
    }
    return fill(read_web("page.html"), parts)


def page_data(timeline: Timeline, truth: GroundTruth | None = None) -> dict[str, Any]:
    """What the page's program is given, JSON-ready; probabilities as base64 of float32, row by row, (T, C)."""
    tables = None if timeline.probabilities is None else timeline.probabilities.arrays()
    document = to_document(replace(timeline, events=()))  # events go in a shorter form
    places = {label: index for index, label in enumerate(timeline.labels)}
    media = timeline.media
    return {
        "name": escape(Path(str(media.get("path", timeline.name))).name),
        "stem": re.sub(r"[^\w.\- ]", "_", escape(timeline.name)) or "video",
        "duration": max(timeline.segments, float(media["duration"]), *(e.offset for e in timeline.events), 0.1),
        "segments": timeline.segments,
        "labels": list(timeline.labels),
        "has": {sense: media.get(f"{kind}_codec", "") is not None for sense, kind in _SENSES.items()},
        "threshold": _common_threshold(timeline.provenance.get("thresholds")),
        "events": [_compact(event, places) for event in _displayed(timeline)],
        "probabilities": None if tables is None else {name: _base64(table) for name, table in tables.items()},
        "refinements": [dict(step) for step in timeline.processing if _is_refinement(step)],
        "truth": None if truth is None else {"spans": _spans(truth), "agreement": truth.agreement},
        "warnings": [escape(warning) for warning in timeline.warnings],
        "document": {key: value for key, value in document.items() if key != "events"},
    }


def _is_refinement(step: Mapping[str, Any]) -> bool:
    """Of this program's, or like it: another may have written anything."""
    numbers = [step.get(name) for name in ("merge_gap", "min_duration", "min_score")]
    classes = step.get("classes")
    known = step.get("step") == "refine" and not step.keys() - {"step", *vars(PostProcessing())}
    well_formed = classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
    return known and well_formed and all(value is None or isinstance(value, int | float) for value in numbers)


def _displayed(timeline: Timeline) -> list[Event]:
    """With what is heard and seen where other programs say only that it is both."""
    both = [event for event in timeline.events if event.modality == "audio_visual"]
    return list(sort_events([*split_modalities(timeline.events), *both], timeline.labels))


def _compact(event: Event, places: Mapping[str, int]) -> list[float]:
    """Modality and class by number, onset, offset, score."""
    score = round(event.score, 6)
    return [MODALITIES.index(event.modality), places[event.label], event.onset, event.offset, score]


_SENSES = {"audio": "audio", "visual": "video"}


def _base64(table: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(table, "<f4").tobytes()).decode()


def _spans(truth: GroundTruth) -> list[tuple[str, int, int, int]]:
    return [
        (modality, index, start, stop)
        for modality, table in zip(("audio", "visual"), truth.labels, strict=True)
        for index in range(table.shape[1])
        for start, stop in runs(table[:, index])
    ]


def _common_threshold(thresholds: Any) -> float | None:
    """The one number that all thresholds are, if they are."""
    values = set(thresholds.values()) if isinstance(thresholds, Mapping) and _flat(thresholds) else set()
    return float(values.pop()) if len(values) == 1 else None


def _flat(thresholds: Mapping[str, Any]) -> bool:
    return all(isinstance(value, int | float) for value in thresholds.values())


def _player(media: Path, page: Path, *, embed: bool) -> dict[str, Any]:
    kind = "audio" if media.suffix.lower() in AUDIO_SUFFIXES else "video"
    told = {"kind": kind, "name": escape(media.name), "path": escape(media), "embedded": embed}
    if not embed:
        way = os.path.relpath(media.resolve(), page.resolve().parent)
        return {**told, "path": escape(way), "url": quote(os.fsencode(way))}
    check_embeddable(media)
    try:
        content = base64.b64encode(media.read_bytes()).decode()
    except OSError as error:
        raise MediaError(media, f"cannot be read: {error.strerror or error}") from error
    form = mimetypes.guess_type(f"x{media.suffix.lower()}")[0] or f"{kind}/mp4"
    return {**told, "url": f"data:{form};base64,{content}"}


def read_web(name: str) -> str:
    """A part of the pages."""
    return (_WEB / name).read_text(encoding="utf-8")


def to_script(data: Any) -> str:
    """JSON that can stand inside <script>: no "<" can end it."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def fill(template: str, parts: Mapping[str, str]) -> bytes:
    """Put parts in the place of @NAME@, in one pass: what parts hold is not looked into."""
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], template).encode("utf-8", "backslashreplace")
