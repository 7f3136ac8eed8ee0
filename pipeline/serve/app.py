"""The web application: all routes behind the security middleware."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI

from .access import Access
from .answers import add_error_handlers
from .history_routes import history_routes
from .hosts import HostNames
from .job_routes import job_routes
from .jobs.desk import Desk
from .label_studio import label_studio_routes
from .label_studio_media import LabelStudioHost
from .pages import page_routes, sign_in_page
from .security import App, Receive, Scope, SecurityMiddleware, Send
from .timeline_pages import timeline_pages
from .timeline_routes import timeline_routes


class ErrorReporter:
    """Tell the terminal of errors that are bugs; the client gets status 500 from FastAPI.

    Args:
        app: what may have them.
        report: called with each.
    """

    def __init__(self, app: App, report: Callable[[Exception], None]) -> None:
        self._app, self._report = app, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self._report(error)


def make_app(
    desk: Desk,
    *,
    access: Access,
    hosts: HostNames,
    label_studio: LabelStudioHost | None,
    title: str,
    report: Callable[[Exception], None],
) -> App:
    """Make the application of a server.

    Args:
        desk: what it works with.
        access: its token.
        hosts: its names.
        label_studio: the Label Studio that media may be fetched from; None for none.
        title: name and description of the bundle.
        report: called with errors that are bugs.

    Returns:
        An ASGI application.
    """
    app = FastAPI(
        title="avvp",
        description="Audio-visual video parsing: videos in, timelines of events out.",
        version=version("avvp"),
        docs_url=None,  # Swagger's page would load its program from a public server
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(page_routes(desk, access, title=title))
    app.include_router(job_routes(desk))
    app.include_router(timeline_routes(desk))
    app.include_router(history_routes(desk))
    app.include_router(timeline_pages(desk))
    app.include_router(label_studio_routes(desk, label_studio))
    add_error_handlers(app)
    reporting = ErrorReporter(app, report)
    return SecurityMiddleware(reporting, hosts=hosts, access=access, sign_in=sign_in_page())
