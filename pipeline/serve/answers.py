"""Bodies of requests and answers: bounded JSON in, JSON out, one line for each refusal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ...weights.unicode import TextError
from ..errors import AVVPError, MediaError, OutputError
from ..text import escape
from ..text_files import parse_json
from . import schemas
from .jobs.job import Job
from .jobs.job_queue import JobEndedError, Progress, QueueFullError, UnknownJobError
from .jobs.limits import UPLOAD_SECONDS
from .jobs.timeline_store import ConflictError, InvalidTimelineError, UnknownTimelineError
from .jobs.uploads import UploadError, UploadTooLargeError

# The first that fits; an error that is none of these is a bug, and answered with 500.
_STATUSES: Mapping[type[Exception], int] = {
    UnknownJobError: 404,
    UnknownTimelineError: 404,
    JobEndedError: 409,
    ConflictError: 412,
    UploadTooLargeError: 413,
    InvalidTimelineError: 422,
    UploadError: 422,
    MediaError: 422,
    QueueFullError: 503,
    OutputError: 507,
    AVVPError: 422,
}

_SLOWEST = 1 << 16  # bytes a second of a request
_VERSION = re.compile(r'(?:W/)?"?(\d{1,6})"?')
IfMatch = Annotated[str | None, Header(description='the version that a change starts from, as "3"')]


class RequestError(AVVPError):
    """A request cannot be answered.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(data: Any, status: int = 200, **headers: str) -> Response:
    """Answer with JSON in ASCII: names of files may hold bytes that are not text.

    Args:
        data: JSON-ready.
        status: of the answer.
        headers: further ones, "_" for "-".
    """
    content = json.dumps(data, allow_nan=False).encode("ascii")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(content, status, media_type="application/json", headers=named)


def declared_length(request: Request) -> int:
    """Return how many bytes a request says that it has, 0 where it says nothing."""
    declared = request.headers.get("content-length", "0")
    return int(declared[:20]) if declared.isdecimal() else 0


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body of a request.

    Raises:
        RequestError: it is larger than `limit` bytes, or does not arrive.
    """
    try:
        return await asyncio.wait_for(_read_body(request, limit), UPLOAD_SECONDS + limit / _SLOWEST)
    except asyncio.TimeoutError as error:
        raise RequestError(408, "the request did not arrive in time") from error


async def _read_body(request: Request, limit: int) -> bytes:
    if declared_length(request) > limit:
        raise _too_large(limit)
    parts, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        parts.append(chunk)
    return b"".join(parts)


async def read_object(request: Request, limit: int) -> dict[str, Any]:
    """Read a body that is a JSON object. Raises RequestError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "expected Content-Type: application/json")
    try:
        value = parse_json(await read_body(request, limit))
    except TextError as error:
        raise RequestError(400, escape(error)[:500]) from error
    if not isinstance(value, dict):
        raise RequestError(400, "expected a JSON object")
    return value


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body of a request as it arrives."""
    async for chunk in request.stream():
        yield chunk


def describe_job(job: Job, progress: Progress | None = None, ahead: int = 0) -> dict[str, Any]:
    """Describe a job for a client.

    Args:
        job: the job.
        progress: of the job, where it runs.
        ahead: jobs that are run before it, where it waits.
    """
    described: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "created": job.created,
        "size": job.size,
        "cause": job.cause or None,
        "progress": None,
        "ahead": ahead if job.status == "queued" else None,
        "duration": job.duration or None,
        "events": None,
        "timeline": None,
        "page": None,
        "classes": list(job.classes) or None,
    }
    if job.status == "running" and progress is not None:
        described["progress"] = {"stage": progress.stage, "done": progress.done, "total": progress.total}
    if job.status == "done":
        timeline = f"/timelines/{job.id}"
        described |= {"events": job.events, "timeline": timeline, "page": f"{timeline}/page"}
    return described


def describe_jobs(jobs: list[Job], progress: Progress) -> list[dict[str, Any]]:
    """Describe all jobs, which are in the order of the queue."""
    described, ahead = [], sum(job.status == "running" for job in jobs)
    for job in jobs:
        described.append(describe_job(job, progress, ahead))
        ahead += job.status == "queued"
    return described


def expected_version(if_match: str | None) -> int:
    """Return the version in an If-Match header. Raises RequestError."""
    if if_match is None:
        raise RequestError(428, 'say which version this starts from: If-Match: "3"')
    match = _VERSION.fullmatch(if_match.strip())
    if match is None:
        raise RequestError(412, "If-Match has no version of a timeline; expected a number in quotes")
    return int(match[1])


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of a route's refusals for the OpenAPI document."""
    return {status: {"model": schemas.Detail} for status in (401, 403, *statuses)}


def add_error_handlers(app: FastAPI) -> None:
    """Answer errors with one line: `{"detail": ...}`."""

    def refuse(_: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, RequestError) else _status(error)
        detail = error.cause if isinstance(error, MediaError) else str(error)
        extra = {"version": str(error.version)} if isinstance(error, ConflictError) else {}
        headers = {"Retry_After": "10"} if status == 503 else {}
        # A body may be left that nobody has read.
        return answer({"detail": detail, **extra}, status, Connection="close", **headers)

    def refuse_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer({"detail": str(error.detail)}, error.status_code)

    def refuse_parameters(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return answer({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    def ignore(_: Request, __: Exception) -> Response:
        return Response(status_code=400)  # the client has gone

    def fail(_: Request, __: Exception) -> Response:
        return answer({"detail": "internal error, please report it; the terminal of the server says more"}, 500)

    app.add_exception_handler(AVVPError, refuse)
    app.add_exception_handler(HTTPException, refuse_http)
    app.add_exception_handler(RequestValidationError, refuse_parameters)
    app.add_exception_handler(ClientDisconnect, ignore)
    app.add_exception_handler(Exception, fail)  # raised again, see `ErrorReporter`


def _status(error: Exception) -> int:
    return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"larger than {limit:,} bytes, the most that is read of this request")
