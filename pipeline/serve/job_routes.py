"""Routes of jobs: send a file or name one, see how far it is, cancel it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from . import schemas
from .answers import RequestError, answer, body_chunks, declared_length, describe_jobs, read_object, refusals
from .jobs.desk import Desk
from .jobs.job import new_id
from .jobs.job_queue import UnknownJobError
from .jobs.limits import MAX_FORM_BYTES, MAX_REQUEST_BYTES, MAX_UPLOADS
from .jobs.uploads import UploadTooLargeError

_SHOWN = 200  # jobs and files in a list, unless the client asks for more


def job_routes(desk: Desk) -> APIRouter:
    """Return the routes of a server's jobs."""
    router = APIRouter(tags=["jobs"])
    uploads = asyncio.Semaphore(MAX_UPLOADS)

    def find(job_id: str) -> dict[str, Any]:
        """Describe a job. Raises UnknownJobError."""
        described = describe_jobs(*desk.queue.snapshot())
        found = next((entry for entry in described if entry["id"] == job_id), None)
        if found is None:
            raise UnknownJobError("no such job")
        return found

    @router.get("/files", response_model=schemas.FileList, responses=refusals(404, 422))
    def list_files(
        search: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=10_000)] = _SHOWN
    ) -> Response:
        """List media files of the folder of this server, by part of their names."""
        if desk.media is None:
            raise RequestError(404, "this server was started without a folder")
        listing = desk.media.list(search)
        complete = listing.complete and len(listing.names) <= limit
        return answer({"files": listing.names[:limit], "complete": complete})

    @router.post(
        "/parse",
        status_code=202,
        response_model=schemas.JobStatus,
        responses=refusals(400, 413, 415, 422, 503, 507),
        openapi_extra=schemas.PARSE_BODY,
    )
    async def parse(request: Request) -> Response:
        """Parse a file: send it in a form, or name one of the folder in JSON. Of an open bundle, name classes."""
        content_type = request.headers.get("content-type", "")
        desk.queue.check_space()
        if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
            _check_length(request, desk.uploads.max_bytes)
            if uploads.locked():
                raise RequestError(503, f"{MAX_UPLOADS} files are being sent already; try again in a moment")
            async with uploads:
                job_id = new_id()
                upload = await desk.uploads.receive(
                    job_id, body_chunks(request), content_type, check=desk.check_classes
                )
            job = await asyncio.to_thread(desk.submit_upload, job_id, upload)
        else:
            named = await read_object(request, MAX_REQUEST_BYTES)
            if not {"path"} <= named.keys() <= {"path", "classes"}:
                raise RequestError(400, 'expected an object with "path" and perhaps "classes", or a form with a file')
            job = await asyncio.to_thread(desk.submit_named, named["path"], named.get("classes"))
        return answer(find(job.id), 202, Location=f"/jobs/{job.id}")

    @router.get("/jobs", response_model=schemas.JobList, responses=refusals(422))
    def list_jobs(limit: Annotated[int, Query(ge=1, le=10_000)] = _SHOWN) -> Response:
        """List jobs, the newest first."""
        described = describe_jobs(*desk.queue.snapshot())
        return answer({"jobs": described[::-1][:limit]})

    @router.get("/jobs/{job_id}", response_model=schemas.JobStatus, responses=refusals(404))
    def show_job(job_id: str) -> Response:
        """Return the state of a job."""
        return answer(find(job_id))

    @router.delete("/jobs/{job_id}", status_code=202, response_model=schemas.JobStatus, responses=refusals(404, 409))
    def cancel_job(job_id: str) -> Response:
        """Cancel a job that waits or runs; one that runs ends within seconds."""
        desk.cancel(job_id)
        return answer(find(job_id), 202)

    return router


def _check_length(request: Request, most: int) -> None:
    """Refuse a file that is too large before it arrives. Raises UploadTooLargeError."""
    if declared_length(request) > most + MAX_FORM_BYTES:
        raise UploadTooLargeError(f"larger than {most >> 20:,} MiB, the most that is taken")
