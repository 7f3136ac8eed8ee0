"""A web server with one weight file, whose behaviour tests change."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from avvp.weights import WeightFile

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A web server with one file, whose behaviour a test can change. `requests` holds the Range headers it got.

    Attributes:
        headers: sent instead of those of the same names; None leaves one out.
        redirects: sent one after the other before the file, with `redirect_body`.
        endless: goes on sending after the content.
        drip: seconds before each byte of the body.
    """

    def __init__(self) -> None:
        self.requests: list[str | None] = []
        self.cut_after: int | None = None
        self.ranges = True
        self.status: int | None = None
        self.content = CONTENT
        self.headers: dict[str, str | None] = {}
        self.redirects: list[str] = []
        self.redirect_body = b""
        self.endless = False
        self.drip = 0.0
        self.sent = 0
        handler = partial(_Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/weights.bin"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, owner: Server, *arguments: Any) -> None:
        self.owner = owner
        super().__init__(*arguments)

    def do_GET(self) -> None:
        owner = self.owner
        wanted = self.headers.get("Range")
        owner.requests.append(wanted)
        if owner.status is not None:
            self.send_error(owner.status)
            return
        if owner.redirects:
            self._answer(302, {"Location": owner.redirects.pop(0)}, owner.redirect_body)
            return
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and owner.ranges else 0
        size = len(owner.content)
        if start >= size:
            self._answer(416, {"Content-Range": f"bytes */{size}"}, b"")
            return
        body = owner.content[start:]
        headers = {"Content-Length": str(len(body))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._answer(206 if start else 200, headers, body if owner.cut_after is None else body[: owner.cut_after])

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        owner = self.owner
        self.send_response(status)
        for name, value in {**headers, **owner.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client hangs up
            if owner.drip:
                for index in range(len(body)):
                    time.sleep(owner.drip)
                    self._send(body[index : index + 1])
            self._send(body)
            while owner.endless and status == 200:
                self._send(body)

    def _send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.owner.sent += len(data)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def weight_file(server: Server, **changes: Any) -> WeightFile:
    entry = WeightFile(
        key="test", name="weights.bin", urls=(server.url,), licence="", source="", mib=1.0, sha256=DIGEST,
        bytes=len(CONTENT),
    )  # fmt: skip
    return replace(entry, **changes)
