"""The start page, its style and program, and signing in."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from ..outputs.html.page import fill_template, read_web
from .access import Access
from .answers import RequestError, answer, read_body
from .jobs.classes import names_of
from .jobs.desk import Desk

_WEB = Path(__file__).with_name("web")
_MAX_FORM = 4_096  # bytes of the form with a token
_COOKIE_SECONDS = 30 * 86_400


def page_routes(desk: Desk, access: Access, *, title: str) -> APIRouter:
    """Return the routes of the pages.

    Args:
        desk: of the server.
        access: its token.
        title: name and description of the bundle.
    """
    router = APIRouter(include_in_schema=False)
    start = _fill("serve.html", TITLE=title, FOLDER="" if desk.media is None else desk.media.root.resolve().name)
    files = {
        "serve.js": (read_web("basics.js").encode() + (_WEB / "serve.js").read_bytes(), "text/javascript"),
        "serve.css": ((_WEB / "serve.css").read_bytes(), "text/css"),
        "page.css": (read_web("page.css").encode(), "text/css"),
    }

    @router.get("/")
    def show_start() -> Response:
        return Response(start, media_type="text/html")

    @router.get("/web/{name}")
    def send_file(name: str) -> Response:
        if name not in files:
            raise RequestError(404, "no such file")
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    @router.get("/login/{code}")
    def use_link(code: str, request: Request) -> Response:
        if not access.use_code(code):
            return Response(sign_in_page("This link was used already."), 403, media_type="text/html")
        # Not a redirect: after a click on another site, browsers would not send the strict cookie with it.
        response = Response(_fill("entered.html"), media_type="text/html")
        _set_cookie(response, access, request)
        return response

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        body = (await read_body(request, _MAX_FORM)).decode("utf-8", "replace")
        try:
            fields = parse_qs(body, max_num_fields=8)
        except ValueError:  # more fields
            fields = {}
        if not access.is_token("".join(fields.get("token", [])).strip()):
            return Response(sign_in_page("This is not the token."), 403, media_type="text/html")
        response = Response(status_code=303, headers={"location": "/"})
        _set_cookie(response, access, request)
        return response

    @router.get("/favicon.ico")
    def no_icon() -> Response:
        return Response(status_code=204)

    @router.get("/state")
    def show_state() -> Response:
        return answer({"max_upload": desk.uploads.max_bytes, "classes": names_of(desk.vocabulary)})

    return router


def sign_in_page(note: str = "") -> bytes:
    """Return the page for a browser that has not signed in.

    Args:
        note: why the last attempt has failed.
    """
    return _fill("sign-in.html", NOTE=note)


def _set_cookie(response: Response, access: Access, request: Request) -> None:
    # The server itself speaks HTTP. What a proxy or a browser claims can only make the cookie stricter.
    claimed = (request.headers.get("origin", ""), request.headers.get("x-forwarded-proto", ""))
    secure = any(text.startswith("https") for text in claimed)
    response.set_cookie(
        access.cookie, access.session, max_age=_COOKIE_SECONDS, httponly=True, samesite="strict", secure=secure
    )


def _fill(name: str, **parts: str) -> bytes:
    """Return a page of `web/` with texts in place of @NAME@."""
    template = (_WEB / name).read_text(encoding="utf-8")
    return fill_template(template, {key: html.escape(value) for key, value in parts.items()})
