"""Listen on a port and answer until the server is interrupted."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import SetupError
from ..text import escape
from .access import Access
from .app import make_app
from .hosts import HostNames
from .jobs.desk import DeskSettings, open_desk
from .jobs.limits import MAX_CONNECTIONS
from .label_studio_media import LabelStudioHost
from .security import App

_END_SECONDS = 1  # that requests have to end when the server does
FIRST_REQUEST_SECONDS = 10  # after which a connection without a request is closed


@dataclass(frozen=True)
class ServerSettings:
    """How a server is reached.

    Attributes:
        host: name or address to listen on.
        port: 0 for any that is free.
        token: that clients need; None for none.
        allowed_hosts: further names that the server answers to.
        label_studio: that media may be fetched from; None for none.
        title: name and description of the bundle.
    """

    host: str
    port: int
    token: str | None
    allowed_hosts: tuple[str, ...]
    label_studio: LabelStudioHost | None
    title: str


def listen(host: str, port: int) -> socket.socket:
    """Open the port, before anything that takes time is done.

    Args:
        host: name or address of this machine.
        port: 0 for any that is free.

    Returns:
        A socket that listens.

    Raises:
        SetupError: the port is in use, or the host is not an address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not the name of a host"
        raise SetupError(f"--host {escape(host)}: {reason}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(f"port {port} on {escape(host)} is in use; choose another one with --port") from error
        raise SetupError(f"{escape(host)}, port {port}: {error.strerror or error}") from error
    return listening


def serve(
    listening: socket.socket,
    settings: ServerSettings,
    desk: DeskSettings,
    *,
    announce: Callable[[Access, int, str], None],
    report: Callable[[Exception], None],
) -> None:
    """Answer requests until the process is interrupted.

    Args:
        listening: of `listen`; closed at the end.
        settings: how the server is reached.
        desk: what it works with.
        announce: called once it answers, with the number of lines of the journal that cannot be read, and a line about
            the choice of backend and precision or nothing.
        report: called with errors that are bugs.

    Raises:
        SetupError: the folder of results is in use, or the networks cannot be loaded.
        OutputError: the folder of results cannot be written to.
    """
    with listening, open_desk(desk) as opened:
        access = Access(settings.token, listening.getsockname()[1])
        app = make_app(
            opened,
            access=access,
            hosts=HostNames(settings.host, settings.allowed_hosts),
            label_studio=settings.label_studio,
            title=settings.title,
            report=report,
        )

        def announced() -> None:
            announce(access, opened.unreadable, opened.engine.choice)

        server = _Server(server_config(app), announced, opened.queue.close)
        server.run(sockets=[listening])


def server_config(app: App) -> uvicorn.Config:
    """Return how an application is served: plain HTTP/1.1, without headers of proxies, without a log."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # `ErrorReporter` says what is to be said
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        http=_Protocol,
        timeout_graceful_shutdown=_END_SECONDS,
        limit_concurrency=MAX_CONNECTIONS,
    )


class _Protocol(H11Protocol):
    """Ends connections on which no request arrives: uvicorn counts them, and has no limit of its own."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(FIRST_REQUEST_SECONDS, self._close_unused)

    def _close_unused(self) -> None:
        if self.cycle is None:
            self.transport.close()


class _Server(uvicorn.Server):
    """Says when it answers, and ends what waits when it is to end."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._started, self._ending = started, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        threading.Thread(target=self._started, daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the requests that wait for jobs, then all others."""
        self._ending()
        await super().shutdown(sockets)
