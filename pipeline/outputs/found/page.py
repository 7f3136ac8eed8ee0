"""HTML page of a search: its moments with thumbnails, and a player; one file, no requests."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...embeddings.search.query import SearchSettings
from ...embeddings.search.search import FoundMoment, SearchOutcome
from ...errors import MediaError
from ...files import AUDIO_SUFFIXES, write_atomic
from ...text import escape
from ..html.bands import jpeg_within
from ..html.web_files import NO_FORMS, fill_template, json_for_script, own_sources, read_web
from ..plots.thumbnails import frames_at
from .results import describe_count, file_name

MAX_PICTURES = 1_000  # moments with a thumbnail, 8 kB each
_HEIGHT, _PICTURE_BYTES = 135, 8_000
_SENSES = {"either": "heard or seen", "heard": "heard", "seen": "seen", "both": "heard and seen"}


def write_found_page(
    outcome: SearchOutcome,
    settings: SearchSettings,
    texts: Sequence[str],
    media: Mapping[FoundMoment, Path | None],
    path: Path,
    *,
    timeout: float,
) -> None:
    """Write the page of a search.

    Args:
        outcome: of the search.
        settings: of it.
        texts: that were searched for.
        media: moment -> the file that the page plays, by a path relative to it; None where there is none.
        path: of the page.
        timeout: seconds without progress after which a decoder is stopped.

    Raises:
        OutputError: the page cannot be written.
    """
    pictures = _pictures(outcome.moments[:MAX_PICTURES], media, timeout)
    files = list(dict.fromkeys(found for moment in outcome.moments if (found := media.get(moment)) is not None))
    places = {file: place for place, file in enumerate(files)}
    joined = (" and " if settings.together else ", ").join(texts)
    data = {
        "title": escape(joined),
        "facts": f"{_SENSES[settings.sense]}, z of {settings.min_z:g} or more",
        "count": describe_count(outcome, settings),
        "notes": [escape(note) for note in outcome.notes],
        "media": [_media(file, path.resolve().parent) for file in files],
        "moments": [
            {
                "name": escape(file_name(moment)),
                "text": escape(moment.text),
                "onset": moment.onset,
                "offset": moment.offset,
                "best": moment.best,
                "z": moment.z,
                "heard": moment.heard,
                "seen": moment.seen,
                "media": places.get(file, -1) if (file := media.get(moment)) is not None else -1,
                "picture": pictures.get(moment, ""),
            }
            for moment in outcome.moments
        ],
    }
    style = read_web("page.css") + read_web("found.css")
    script = f"(() => {{\n{read_web('basics.js')}{read_web('found.js')}}})();"
    parts = {
        "TITLE": html.escape(f"{data['title']} · search"),
        "CSP": f"default-src 'none'; img-src data:; media-src 'self' file:; {own_sources(script, style)}; {NO_FORMS}",
        "STYLE": style,
        "SCRIPT": script,
        "DATA": json_for_script(data),
    }
    write_atomic(path, fill_template(read_web("found.html"), parts))


def _media(file: Path, folder: Path) -> dict[str, Any]:
    relative = os.path.relpath(file.resolve(), folder)
    kind = "audio" if file.suffix.lower() in AUDIO_SUFFIXES else "video"
    return {"kind": kind, "name": escape(file.name), "path": escape(relative), "url": quote(os.fsencode(relative))}


def _pictures(
    moments: Sequence[FoundMoment], media: Mapping[FoundMoment, Path | None], timeout: float
) -> dict[FoundMoment, str]:
    """Return the frame in the best second of moments, as addresses of data; none of media without pictures."""
    from PIL import Image

    by_file: dict[Path, list[FoundMoment]] = {}
    for moment in moments:
        if (file := media.get(moment)) is not None:
            by_file.setdefault(file, []).append(moment)
    pictures: dict[FoundMoment, str] = {}
    for file, found in by_file.items():
        try:
            frames = frames_at(file, [moment.best + 0.5 for moment in found], height=_HEIGHT, timeout=timeout)
        except MediaError:  # the player says what is wrong
            continue
        for moment, frame in zip(found, frames, strict=True):
            if frame is not None:
                content = base64.b64encode(jpeg_within(Image.fromarray(frame), _PICTURE_BYTES)).decode()
                pictures[moment] = f"data:image/jpeg;base64,{content}"
    return pictures
