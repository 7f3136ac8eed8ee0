"""Descriptions of bodies for the OpenAPI document of the server."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

EVENTS = {
    "application/json": {"schema": {"type": "object", "description": "A document of events, see docs/events.md."}}
}
_CLASSES = {
    "type": "string",
    "description": "Names with commas between them: what to look for, of a server with an open bundle.",
}
PARSE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}, "classes": _CLASSES},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["path"],
                    "properties": {
                        "path": {"type": "string", "description": "Name of a file, from GET /files."},
                        "classes": {"oneOf": [_CLASSES, {"type": "array", "items": {"type": "string"}}]},
                    },
                }
            },
        },
    }
}
SAVE_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": EVENTS}}
OBJECT_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


class Progress(BaseModel):
    """How far a job is."""

    stage: str = Field(description="loading, audio, video, frames, features, events or film")
    done: float = Field(description="seconds of the media")
    total: float | None = Field(description="seconds of the media, null where the file does not state them")


class JobStatus(BaseModel):
    """A job."""

    id: str
    name: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    created: float = Field(description="seconds since 1970")
    size: int = Field(description="bytes")
    cause: str | None = Field(description="of a failure")
    progress: Progress | None
    ahead: int | None = Field(description="jobs that are run before this one")
    duration: float | None = Field(description="seconds of the media")
    events: int | None
    timeline: str | None = Field(description="address of the timeline")
    page: str | None = Field(description="address of its page")
    classes: list[str] | None = Field(description="that the request named; null for those of the server")


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobStatus]


class FileList(BaseModel):
    """Media files of the folder."""

    files: list[str]
    complete: bool = Field(description="false where the folder has more files than are listed")


class TimelineEntry(BaseModel):
    """A timeline."""

    id: str
    name: str
    version: int
    saved: float = Field(description="seconds since 1970")
    author: str = Field(description="who saved the version")
    duration: float
    events: int
    timeline: str
    page: str


class TimelineList(BaseModel):
    """Timelines, the newest first."""

    timelines: list[TimelineEntry]


class Saved(BaseModel):
    """The version that was saved."""

    version: str


class VersionEntry(BaseModel):
    """A version of a timeline."""

    version: str
    saved: float = Field(description="seconds since 1970")
    author: str
    events: int | None


class History(BaseModel):
    """Versions of a timeline, the newest first."""

    versions: list[VersionEntry]


class Detail(BaseModel):
    """Why a request is refused, in one line."""

    detail: str
