"""Routes of timelines: list, read, save corrections, remove."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from . import schemas
from .answers import IfMatch, RequestError, answer, expected_version, read_body, refusals
from .jobs.desk import Desk
from .jobs.job import Job
from .jobs.limits import MAX_TIMELINE_BYTES
from .jobs.timeline_store import UnknownTimelineError, Version


def timeline_routes(desk: Desk) -> APIRouter:
    """Return the routes of a server's timelines."""
    router = APIRouter(tags=["timelines"], prefix="/timelines")
    store = desk.timelines

    @router.get("", response_model=schemas.TimelineList, responses=refusals())
    def list_timelines() -> Response:
        """List timelines, the newest first."""
        jobs, _ = desk.queue.snapshot()
        entries = []
        for job in reversed(jobs):
            if job.status == "done":
                try:
                    entries.append(_entry(job, store.history(job.id)[-1]))
                except UnknownTimelineError:  # removed by hand
                    continue
        return answer({"timelines": entries})

    @router.get("/{job_id}", response_class=FileResponse, responses={200: {"content": schemas.EVENTS}, **refusals(404)})
    def read_timeline(job_id: str) -> Response:
        """Return the current version, as a document of events; its number is in the header ETag."""
        desk.done_job(job_id)
        number, path = store.current(job_id)
        return FileResponse(path, media_type="application/json", headers={"etag": f'"{number}"'})

    @router.put(
        "/{job_id}",
        response_model=schemas.Saved,
        responses=refusals(404, 412, 413, 422, 428, 507),
        openapi_extra=schemas.SAVE_BODY,
    )
    async def save_timeline(job_id: str, request: Request, if_match: IfMatch = None) -> Response:
        """Save a corrected timeline as a new version, if nobody else has saved one meanwhile."""
        name, expected = desk.done_job(job_id).name, expected_version(if_match)
        content = await read_body(request, MAX_TIMELINE_BYTES)
        client = request.client.host if request.client is not None else ""
        number = await run_in_threadpool(store.save, job_id, content, name=name, expected=expected, author=client)
        return answer({"version": str(number)}, ETag=f'"{number}"')

    @router.delete("/{job_id}", status_code=204, responses=refusals(404, 412, 428))
    def remove_timeline(job_id: str, if_match: IfMatch = None) -> Response:
        """Remove a timeline with its history, its job, and the file if it was sent."""
        desk.done_job(job_id)
        expected = expected_version(if_match)
        with store.lock:  # nobody saves a version between the comparison and the end
            number, _ = store.current(job_id)
            if expected != number:
                raise RequestError(412, f"the current version is {number}; nothing was removed")
            desk.queue.remove(job_id)
        return Response(status_code=204)

    return router


def _entry(job: Job, version: Version) -> dict[str, Any]:
    address = f"/timelines/{job.id}"
    return {
        "id": job.id,
        "name": job.name,
        "version": version.number,
        "saved": version.time,
        "author": version.author,
        "duration": job.duration,
        "events": job.events if version.events < 0 else version.events,
        "timeline": address,
        "page": f"{address}/page",
    }
