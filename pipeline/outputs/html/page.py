"""HTML page that plays a video beside its timeline: one file, no requests, untrusted text never parsed as HTML."""

from __future__ import annotations

import base64
import html
import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...errors import MediaError, SetupError
from ...files import AUDIO_SUFFIXES, is_file, write_atomic
from ...text import escape
from ...timeline import GroundTruth, Timeline
from .attention_data import attention_data
from .bands import media_bands
from .page_data import page_data
from .site import SharedProgram
from .web_files import GENERATOR, NO_FORMS, fill_template, json_for_script, own_sources, page_parts, read_web

if TYPE_CHECKING:
    from ..plots.attention_maps import AttentionMaps

PAGE_SUFFIXES = (".html", ".htm")
EMBED_LIMIT = 64 << 20  # bytes of an embedded video; browsers are slow with larger pages
_POLICY = f"default-src 'none'; img-src data:; media-src 'self' file: data: blob:; {NO_FORMS}"  # nothing from elsewhere
_POLICY_TO_SAVE = "; connect-src 'self'"


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
    attention: AttentionMaps | None = None,
    embed: bool = False,
    bands: bool = True,
    kept: bool = True,
    note: str = "",
    shared: SharedProgram | None = None,
) -> None:
    """Write the page of a timeline.

    Args:
        timeline: the events. The path in its facts of the media is shown, never opened.
        path: of the page.
        media: the file that the page plays; None for a page without a player.
        truth: shown below the events.
        attention: of the parser on this video, shown for a class that the user chooses.
        embed: embed the media in the page; otherwise the page refers to it by a relative path.
        bands: decode `media` for a film, a waveform and a spectrogram above the timeline.
        kept: whether `media` stays where it is; a page without embedded media has no player for a file that is removed.
        note: shown in place of the player: where the media was looked for, and how to name it.
        shared: program of all pages of the folder; by default the page holds its own.

    Raises:
        SetupError: the media are too large to embed, or the attention is of another video.
        MediaError: the media to embed cannot be read.
        OutputError: the page cannot be written.
    """
    page = render_page(
        timeline, folder=path.resolve().parent, media=media, truth=truth, attention=attention, embed=embed,
        bands=bands, kept=kept, note=note, shared=shared,
    )  # fmt: skip
    write_atomic(path, page)


def render_page(
    timeline: Timeline,
    *,
    folder: Path | None = None,
    media: Path | None = None,
    media_url: str | None = None,
    save: SaveTarget | None = None,
    truth: GroundTruth | None = None,
    attention: AttentionMaps | None = None,
    embed: bool = False,
    bands: bool | Mapping[str, Any] = True,
    kept: bool = True,
    note: str = "",
    shared: SharedProgram | None = None,
) -> bytes:
    """Render the page of a timeline.

    Args:
        timeline: the events. The path in its facts of the media is shown, never opened.
        folder: of the page, from where it refers to `media`; by default the working directory.
        media: the file that the page plays; None for a page without a player, unless there is `media_url`.
        media_url: address from which the player loads the media, in place of the path; for pages on a server.
        save: where corrections are sent; None for a page that only saves files.
        truth: shown below the events.
        attention: of the parser on this video, shown for a class that the user chooses.
        embed: embed the media in the page.
        bands: decode `media` for a film, a waveform and a spectrogram above the timeline; or what `media_bands` has
            made of them before.
        kept: whether `media` stays where it is, for the player of a page without embedded media.
        note: shown in place of the player.
        shared: program of all pages of the folder; by default the page holds its own.

    Returns:
        The page, UTF-8.

    Raises:
        SetupError: the media are too large to embed, or the attention is of another video.
        MediaError: the media to embed cannot be read.
    """
    data = page_data(timeline, truth)
    if attention is not None:
        data["attention"] = attention_data(attention, timeline.labels, timeline.segments)
    if isinstance(bands, Mapping):
        data |= bands
    elif bands and media is not None:
        found, warnings = media_bands(media, data["duration"])
        data |= found
        data["warnings"] += warnings
    data["media"] = _player_data(
        timeline, media if kept or embed else None, media_url, folder or Path.cwd(), embed=embed
    )
    data["note"] = escape(note)
    if save is not None:
        data["save"] = {"url": save.url, "version": save.version}
    title = f"{data['name']} · events"
    if shared is not None:
        return shared.render(title, data)
    program = page_parts()
    script = f"(() => {{\n{program.script}\n}})();"
    parts = {
        "TITLE": html.escape(title),
        "CSP": f"{_POLICY}; {own_sources(script, program.style)}" + (_POLICY_TO_SAVE if save is not None else ""),
        "STYLE": program.style,
        "SCRIPT": script,
        "DATA": json_for_script(data),
    }
    return fill_template(read_web("page.html"), parts)


def is_avvp_page(path: Path) -> bool:
    """Return whether a page was written by this program."""
    try:
        with path.open("rb") as file:
            return GENERATOR.encode() in file.read(4096)
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
