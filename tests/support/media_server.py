"""A web server on loopback with media files, whose behaviour tests change: a stand-in for sites with videos."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MediaServer:
    """Files by path.

    Attributes:
        files: path without the slash -> content.
        statuses: path -> answer instead of the file, such as 404; a list is used up one by one.
        drip: path -> seconds between blocks of 16 KiB.
        requests: paths asked for, in order.
        user: with a password, "name:password" that requests need.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, int | list[int]] = {}
        self.drip: dict[str, float] = {}
        self.requests: list[str] = []
        self.times: list[float] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def asked_for(self, path: str) -> int:
        """How often a path was requested."""
        return self.requests.count(path)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, owner: MediaServer, *arguments: Any) -> None:
        self.owner = owner
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        owner = self.owner
        path = self.path.lstrip("/").partition("?")[0]
        owner.requests.append(path)
        owner.times.append(time.monotonic())
        status = owner.statuses.get(path)
        if isinstance(status, list):
            status = status.pop(0) if status else None
        if status is None and path not in owner.files:
            status = 404
        if status is not None:
            self.send_error(status)
            return
        content = owner.files[path]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        part = content[start : int(wanted[2]) + 1 if wanted and wanted[2] else None]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "text/html" if path.endswith(".html") else "video/mp4")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        with contextlib.suppress(OSError):  # the client hangs up
            for place in range(0, len(part) if body else 0, 1 << 14):
                self.wfile.write(part[place : place + (1 << 14)])
                if pause := owner.drip.get(path):
                    time.sleep(pause)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
