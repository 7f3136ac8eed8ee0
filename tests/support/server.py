"""A web server with one weight file, whose behaviour tests change."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from avvp.weights import WeightFile

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A web server with one file, whose behaviour a test can change. `requests` holds the Range headers it got."""

    def __init__(self) -> None:
        self.requests: list[str | None] = []
        self.cut_after: int | None = None
        self.ranges = True
        self.status: int | None = None
        self.content = CONTENT
        handler = partial(_Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/weights.bin"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

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
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and owner.ranges else 0
        if start >= len(owner.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(owner.content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        body = owner.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if owner.cut_after is None else body[: owner.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def weight_file(server: Server, **changes: Any) -> WeightFile:
    entry = WeightFile(
        key="test", name="weights.bin", urls=(server.url,), licence="", source="", mib=1.0, sha256=DIGEST,
        bytes=len(CONTENT),
    )  # fmt: skip
    return replace(entry, **changes)
