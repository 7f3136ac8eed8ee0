"""Middleware before all routes: names of the server, origins, the token, and headers that keep browsers strict."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .access import Access
from .hosts import HostNames, same_origin

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = frozenset({"/login", "/web/serve.css", "/web/page.css", "/web/serve.js"})  # for browsers without a cookie
_MAX_HEADER = 8_192  # bytes of a header that is looked at
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": POLICY,
}


class SecurityMiddleware:
    """Answer only requests that are meant for this server, by people who may use it.

    Args:
        app: what answers them.
        hosts: names of the server.
        access: its token.
        sign_in: page for browsers that have not signed in.
    """

    def __init__(self, app: App, *, hosts: HostNames, access: Access, sign_in: bytes) -> None:
        self._app, self._hosts, self._access, self._sign_in = app, hosts, access, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket: there is none
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in present]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        refusal = self._refuse(scope)
        if refusal is None:
            await self._app(scope, receive, send_strict)
            return
        status, content_type, body = refusal
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        # The rest of a body that nobody reads must not be taken for the next request.
        headers.append((b"connection", b"close"))
        await send_strict({"type": "http.response.start", "status": status, "headers": headers})
        await send_strict({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _refuse(self, scope: Scope) -> tuple[int, bytes, bytes] | None:
        """Return status, type and body of a refusal, None where there is nothing to refuse."""
        host, *others = _values(scope, b"host") or [""]
        if others or not self._hosts.accepts(host):
            return _json(421, "this server does not answer to the name of this request; --allow-host NAME adds one")
        if reason := _cross_site(scope, host):
            return _json(403, reason)
        if scope["path"] in _OPEN_PATHS or scope["path"].startswith("/login/"):
            return None
        authorization, cookies = (" ".join(_values(scope, name)[:1]) for name in (b"authorization", b"cookie"))
        if self._access.allows(authorization, cookies):
            return None
        if "text/html" in " ".join(_values(scope, b"accept")):
            return 401, b"text/html; charset=utf-8", self._sign_in
        return _json(401, "this server needs its token: Authorization: Bearer TOKEN")


def _cross_site(scope: Scope, host: str) -> str:
    """Return why a request comes from a page of another site; an empty string where it does not.

    Programs other than browsers send neither header. Browsers send `Origin` with everything that changes something.
    """
    origins, sites = _values(scope, b"origin"), _values(scope, b"sec-fetch-site")
    changes = scope["method"] not in _READS
    if changes and any(not same_origin(origin, host) for origin in origins):
        return "this request comes from a page of another site"
    site = sites[0] if sites else "none"
    opens = not changes and " ".join(_values(scope, b"sec-fetch-mode")) == "navigate"
    if site not in {"none", "same-origin"} and not opens:
        return "this request comes from a page of another site"
    return ""


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value[:_MAX_HEADER].decode("latin-1") for key, value in scope["headers"] if key == name]


def _json(status: int, detail: str) -> tuple[int, bytes, bytes]:
    return status, b"application/json", json.dumps({"detail": detail}).encode()
