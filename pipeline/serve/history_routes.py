"""Routes of the history of a timeline: list the versions, read one, restore one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from . import schemas
from .answers import IfMatch, answer, expected_version, refusals
from .jobs.desk import Desk


def history_routes(desk: Desk) -> APIRouter:
    """Return the routes of the versions of a server's timelines."""
    router = APIRouter(tags=["history"], prefix="/timelines")
    store = desk.timelines

    @router.get("/{job_id}/history", response_model=schemas.History, responses=refusals(404))
    def list_versions(job_id: str) -> Response:
        """List the versions that are kept, the newest first."""
        desk.done_job(job_id)
        versions = [
            {
                "version": str(version.number),
                "saved": version.time,
                "author": version.author,
                "events": None if version.events < 0 else version.events,
            }
            for version in reversed(store.history(job_id))
        ]
        return answer({"versions": versions})

    @router.get(
        "/{job_id}/history/{number}",
        response_class=FileResponse,
        responses={200: {"content": schemas.EVENTS}, **refusals(404, 422)},
    )
    def read_version(job_id: str, number: int) -> Response:
        """Return a version, as a document of events."""
        desk.done_job(job_id)
        path = store.version(job_id, number)
        return FileResponse(path, media_type="application/json", headers={"etag": f'"{number}"'})

    @router.post(
        "/{job_id}/history/{number}", response_model=schemas.Saved, responses=refusals(404, 412, 422, 428, 507)
    )
    def restore_version(job_id: str, number: int, request: Request, if_match: IfMatch = None) -> Response:
        """Restore a version: its content becomes a new version; the history stays."""
        name = desk.done_job(job_id).name
        content = store.version(job_id, number).read_bytes()
        client = request.client.host if request.client is not None else ""
        expected = expected_version(if_match)
        new = store.save(job_id, content, name=name, expected=expected, author=client, restored=True)
        return answer({"version": str(new)}, ETag=f'"{new}"')

    return router
