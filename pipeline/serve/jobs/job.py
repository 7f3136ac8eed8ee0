"""One job: a media file to be parsed, and its line in the journal."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...batch.journal_fields import (
    MAX_TIME,
    integer_between,
    read_duration,
    read_fields,
    read_name,
    read_number,
    read_text,
)
from ...batch.storage import MAX_LINE_BYTES
from .limits import MAX_CLASSES

Status = Literal["queued", "running", "done", "failed", "cancelled", "removed"]
Source = Literal["upload", "folder"]
ENDED: frozenset[Status] = frozenset({"done", "failed", "cancelled"})
_ID = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A media file that waits to be parsed, is parsed, or was.

    Attributes:
        id: of the job and of its timeline, 16 hexadecimal digits.
        name: of the file, as it is shown: its path in the folder of the server, or the name that it was sent under.
        source: where the file is: among the uploads, or in the folder of the server.
        path: relative to that place.
        size: of the file in bytes.
        mtime_ns: time of its last change when the job was made.
        created: when the job was made, seconds since 1970.
        status: of the job; "removed" only in the journal.
        cause: of a failure, one line.
        starts: how often it was started; more than once where the server ended meanwhile.
        url: address in Label Studio that an upload was fetched from; else empty.
        duration: of the media in seconds, once it is known; else 0.
        events: number of events that were found.
        classes: that are looked for in place of those of the server; none for those of the server.
    """

    id: str
    name: str
    source: Source
    path: str
    size: int
    mtime_ns: int
    created: float
    status: Status = "queued"
    cause: str = ""
    starts: int = 0
    url: str = ""
    duration: float = 0.0
    events: int = 0
    classes: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it is neither waiting nor running."""
        return self.status in ENDED

    def to_line(self) -> bytes:
        """Return the job as a line of the journal, with its end."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Job:
        """Parse a line of the journal, without its end.

        Raises:
            ValueError: the line is not exactly what `to_line` writes; the message is not for users.
        """
        if len(line) > MAX_LINE_BYTES:
            raise ValueError("too long")
        try:
            values = json.loads(line)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return cls(**read_fields(values, _FIELDS, optional=_NEWER))


def new_id() -> str:
    """Return the id of a new job: random, so that nobody guesses it."""
    return secrets.token_hex(8)


def is_id(text: str) -> bool:
    """Return whether a text can be the id of a job."""
    return _ID.fullmatch(text) is not None


def now() -> float:
    """Return the time for `Job.created`."""
    return time.time()


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError("not one of the choices")
        return value

    return read


def _read_id(value: Any) -> str:
    if not is_id(read_text(value)):
        raise ValueError("not an id")
    return value


def _read_classes(value: Any) -> tuple[str, ...]:
    if type(value) is not list or len(value) > MAX_CLASSES:
        raise ValueError("not a list of classes")
    return tuple(read_text(name) for name in value)


_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "id": _read_id,
    "name": read_text,
    "source": _one_of(get_args(Source)),
    "path": read_name,
    "size": integer_between(0),
    "mtime_ns": integer_between(-MAX_TIME, MAX_TIME),
    "created": read_number,
    "status": _one_of(get_args(Status)),
    "cause": read_text,
    "starts": integer_between(0, 1000),
    "url": read_text,
    "duration": read_duration,
    "events": integer_between(0),
    "classes": _read_classes,
}
_NEWER = frozenset({"classes"})  # fields that lines of earlier versions do not have
