"""The page of a timeline, and the media that it plays."""

from __future__ import annotations

import mimetypes
import re

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from ..errors import MediaError
from ..outputs.html.page import SaveTarget, render_page
from ..outputs.html.web_files import hash_source
from .answers import RequestError, refusals
from .jobs.desk import Desk

_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_MAX_RANGE = 64  # characters of a Range header with one range
# Types that browsers play; everything else is downloaded. Never a type that runs programs, as HTML and SVG do.
_TYPES = {".mkv": "video/webm", ".m4v": "video/mp4", ".mov": "video/mp4", ".mka": "audio/webm", ".opus": "audio/ogg"}


def timeline_pages(desk: Desk) -> APIRouter:
    """Return the routes of the pages of a server's timelines."""
    router = APIRouter(tags=["timelines"], prefix="/timelines")
    store = desk.timelines

    @router.get(
        "/{job_id}/page", response_class=Response, responses={200: {"content": {"text/html": {}}}, **refusals(404)}
    )
    def show_page(job_id: str) -> Response:
        """Return the page on which the timeline is seen and corrected."""
        job = desk.done_job(job_id)
        number, path = store.current(job_id)
        address = f"/timelines/{job_id}"
        note, media_url = "", f"{address}/media"
        try:
            desk.media_path(job)
        except MediaError as error:
            note, media_url = error.cause, None
        page = render_page(
            store.read(path),
            media_url=media_url,
            bands=store.bands(job_id),
            note=note,
            save=SaveTarget(url=address, version=str(number)),
        )
        return Response(page, media_type="text/html", headers={"content-security-policy": page_policy(page)})

    @router.get("/{job_id}/media", response_class=FileResponse, responses=refusals(404, 416))
    def play_media(job_id: str, request: Request) -> Response:
        """Return the media file, or the range of it that a player asks for."""
        try:
            path = desk.media_path(desk.done_job(job_id))
        except MediaError as error:
            raise RequestError(404, error.cause) from error
        wanted = request.headers.get("range", "")
        if "," in wanted or len(wanted) > _MAX_RANGE:
            raise RequestError(416, "one range at a time")
        return FileResponse(
            path,
            media_type=media_type(path.suffix),
            filename=path.name.encode("utf-8", "replace").decode(),
            content_disposition_type="inline",
            headers={"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, no-cache"},
        )

    return router


def media_type(suffix: str) -> str:
    """Return the type that a media file is sent as.

    Args:
        suffix: of its name, with the dot.
    """
    lowered = suffix.lower()
    guessed = _TYPES.get(lowered) or mimetypes.guess_type(f"x{lowered}")[0] or ""
    return guessed if guessed.startswith(("video/", "audio/")) else "application/octet-stream"


def page_policy(page: bytes) -> str:
    """Return the content security policy of a page: only its own programs run, named by their hashes."""
    scripts = " ".join(hash_source(match[1].decode()) for match in _SCRIPT.finditer(page)) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:;"
        " media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
