"""HTML page that plays a video beside its timeline: one file, no requests, untrusted text never parsed as HTML."""

from __future__ import annotations

import base64
import html
import json
import mimetypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
EMBED_LIMIT = 64 << 20  # bytes of an embedded video; browsers are slow with larger pages
_WEB = Path(__file__).with_name("web")
_SCRIPTS = ("events.js", "timeline.js", "editing.js", "page.js")
_POLICY = (  # the content security policy: nothing is loaded from elsewhere
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:;"
    " media-src 'self' file: data: blob:"
)
_POLICY_TO_SAVE = "; connect-src 'self'"
_CODEC_KEYS = {"audio": "audio_codec", "visual": "video_codec"}  # in `Timeline.media`; None: no such stream


@dataclass(frozen=True)
class SaveTarget:
    """Where a page on a server sends its corrections.

    Attributes:
        url: address on the page's own server.
        version: of the timeline on the page; sent back, so that a server can tell what was edited meanwhile.
    """

    url: str
    version: str


def write_page(
    timeline: Timeline,
    path: Path,
    *,
    media: Path | None = None,
    truth: GroundTruth | None = None,
    embed: bool = False,
    note: str = "",
) -> None:
    """Write the page of a timeline.

    Args:
        timeline: the events. The path in its facts of the media is shown, never opened.
        path: of the page.
        media: the file that the page plays; None for a page without a player.
        truth: shown below the events.
        embed: embed the media in the page; otherwise the page refers to it by a relative path.
        note: shown in place of the player where `media` is None: where it was looked for, and how to name it.

    Raises:
        SetupError: the media are too large to embed.
        MediaError: the media to embed cannot be read.
        OutputError: the page cannot be written.
    """
    folder = path.resolve().parent
    write_atomic(path, render_page(timeline, folder=folder, media=media, truth=truth, embed=embed, note=note))


def render_page(
    timeline: Timeline,
    *,
    folder: Path | None = None,
    media: Path | None = None,
    media_url: str | None = None,
    save: SaveTarget | None = None,
    truth: GroundTruth | None = None,
    embed: bool = False,
    note: str = "",
) -> bytes:
    """Render the page of a timeline.

    Args:
        timeline: the events. The path in its facts of the media is shown, never opened.
        folder: of the page, from where it refers to `media`; by default the working directory.
        media: the file that the page plays; None for a page without a player, unless there is `media_url`.
        media_url: address from which the player loads the media, in place of the path; for pages on a server.
        save: where corrections are sent; None for a page that only saves files.
        truth: shown below the events.
        embed: embed the media in the page.
        note: shown in place of the player where there are no media.

    Returns:
        The page, UTF-8.

    Raises:
        SetupError: the media are too large to embed.
        MediaError: the media to embed cannot be read.
    """
    data = page_data(timeline, truth)
    data["media"] = _player_data(timeline, media, media_url, folder or Path.cwd(), embed=embed)
    data["note"] = escape(note)
    if save is not None:
        data["save"] = {"url": save.url, "version": save.version}
    parts = {
        "TITLE": html.escape(f"{data['name']} · events"),
        "CSP": _POLICY + (_POLICY_TO_SAVE if save is not None else ""),
        "STYLE": read_web("page.css"),
        "SCRIPT": "".join(read_web(name) for name in _SCRIPTS),
        "DATA": json_for_script(data),
    }
    return fill_template(read_web("page.html"), parts)


def is_avvp_page(path: Path) -> bool:
    """Return whether a page was written by this program."""
    try:
        with path.open("rb") as file:
            return b'<meta name="generator" content="avvp">' in file.read(4096)
    except OSError:
        return False


def check_embeddable(media: Path) -> None:
    """Raise SetupError for a file that is too large to embed in a page."""
    size = media.stat().st_size if is_file(media) else 0
    if size > EMBED_LIMIT:
        raise SetupError(
            f"{escape(media)}: {size >> 20} MiB is too large to embed in a page (at most {EMBED_LIMIT >> 20} MiB);"
            " without --embed-video the page plays the file from where it is"
        )


def page_data(timeline: Timeline, truth: GroundTruth | None = None) -> dict[str, Any]:
    """Return the data of the page's script, JSON-serializable.

    Args:
        timeline: the events; its probabilities become base64 of little-endian float32, (T, C) in row order.
        truth: intervals of the annotated labels and the line on the agreement.
    """
    tables = None if timeline.probabilities is None else timeline.probabilities.arrays()
    document = to_document(replace(timeline, events=()))  # events are stored in a shorter form
    label_indices = {label: index for index, label in enumerate(timeline.labels)}
    media = timeline.media
    return {
        "name": escape(Path(str(media.get("path", timeline.name))).name),
        "stem": re.sub(r"[^\w.\- ]", "_", escape(timeline.name)) or "video",
        "duration": max(timeline.segments, float(media["duration"]), *(e.offset for e in timeline.events), 0.1),
        "segments": timeline.segments,
        "labels": list(timeline.labels),
        "has": {modality: media.get(key, "") is not None for modality, key in _CODEC_KEYS.items()},
        "threshold": _common_threshold(timeline.provenance.get("thresholds")),
        "events": [_compact(event, label_indices) for event in _displayed(timeline)],
        "probabilities": None if tables is None else {name: _base64(table) for name, table in tables.items()},
        "refinements": [dict(step) for step in timeline.processing if _is_refinement(step)],
        "truth": None if truth is None else {"spans": _spans(truth), "agreement": truth.agreement},
        "warnings": [escape(warning) for warning in timeline.warnings],
        "document": {key: value for key, value in document.items() if key != "events"},
    }


def _is_refinement(step: Mapping[str, Any]) -> bool:
    """Return whether a processing step is a valid "refine" step; other programs may have written anything."""
    numbers = [step.get(name) for name in ("merge_gap", "min_duration", "min_score")]
    classes = step.get("classes")
    is_refine = step.get("step") == "refine" and not step.keys() - {"step", *vars(PostProcessing())}
    well_formed = classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
    return is_refine and well_formed and all(value is None or isinstance(value, int | float) for value in numbers)


def _displayed(timeline: Timeline) -> list[Event]:
    """Return the events, with audio and visual ones added where other programs wrote only audio-visual ones."""
    audio_visual = [event for event in timeline.events if event.modality == "audio_visual"]
    return list(sort_events([*split_modalities(timeline.events), *audio_visual], timeline.labels))


def _compact(event: Event, label_indices: Mapping[str, int]) -> list[float]:
    """Return modality index, class index, onset, offset and score."""
    score = round(event.score, 6)
    return [MODALITIES.index(event.modality), label_indices[event.label], event.onset, event.offset, score]


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
    """Return the number that all thresholds are equal to, None where they differ."""
    values = set(thresholds.values()) if isinstance(thresholds, Mapping) and _all_numbers(thresholds) else set()
    return float(values.pop()) if len(values) == 1 else None


def _all_numbers(thresholds: Mapping[str, Any]) -> bool:
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds.values())


def _player_data(
    timeline: Timeline, media: Path | None, url: str | None, folder: Path, *, embed: bool
) -> dict[str, Any] | None:
    if media is None and url is None:
        return None
    name = Path(str(timeline.media.get("path", timeline.name))).name if media is None else media.name
    suffix = Path(name).suffix.lower()
    kind = "audio" if suffix in AUDIO_SUFFIXES else "video"
    data = {"kind": kind, "name": escape(name), "path": escape(name), "embedded": embed}
    if url is not None or media is None:
        return {**data, "url": url}
    if not embed:
        relative = os.path.relpath(media.resolve(), folder.resolve())
        return {**data, "path": escape(relative), "url": quote(os.fsencode(relative))}
    check_embeddable(media)
    try:
        content = base64.b64encode(media.read_bytes()).decode()
    except OSError as error:
        raise MediaError(media, f"cannot be read: {error.strerror or error}") from error
    mime_type = mimetypes.guess_type(f"x{suffix}")[0] or f"{kind}/mp4"
    return {**data, "path": escape(media), "url": f"data:{mime_type};base64,{content}"}


def read_web(name: str) -> str:
    """Return the text of a file in `web/`."""
    return (_WEB / name).read_text(encoding="utf-8")


def json_for_script(data: Any) -> str:
    """Serialize data as JSON for a <script> element; "<" is escaped, so that no text can end the element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def fill_template(template: str, parts: Mapping[str, str]) -> bytes:
    """Replace each @NAME@ of a template by its part, in one pass: an @NAME@ inside of a part is not replaced."""
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], template).encode("utf-8", "backslashreplace")
