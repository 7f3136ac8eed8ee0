"""Files that are sent to the server: streamed to disk, complete or absent."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from ....weights.safe_paths import is_folder
from ...durable import create_part, discard, finish_part
from ...errors import AVVPError, OutputError
from ...files import make_folder, safe_file_name
from ...text import escape
from .job import is_id
from .limits import MAX_FORM_BYTES, MAX_UPLOAD_NAME, UPLOAD_SECONDS

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\\/]")


class UploadError(AVVPError):
    """A file that is sent cannot be taken."""


class UploadTooLargeError(UploadError):
    """A file is larger than what the server takes."""


@dataclass(frozen=True)
class Upload:
    """A file that has arrived."""

    name: str  # as it was sent, made safe
    path: Path
    size: int  # bytes
    classes: str = ""  # a field of the form


class UploadFolder:
    """The files that were sent, each in a folder that has the id of its job.

    Attributes:
        max_bytes: of a file.
    """

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self._root, self.max_bytes = root, max_bytes

    def path(self, name: str) -> Path:
        """Return the path of `Job.path`, "<id>/<file>"."""
        return self._root / name

    def remove(self, job_id: str) -> None:
        """Remove the file of a job, as far as the system allows."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def remove_unknown(self, known: set[str]) -> int:
        """Remove what belongs to no job: files that were not complete when the server ended. Return their number."""
        if not is_folder(self._root):
            return 0
        unknown = [entry.name for entry in self._root.iterdir() if is_id(entry.name) and entry.name not in known]
        for job_id in unknown:
            self.remove(job_id)
        return len(unknown)

    async def receive(
        self, job_id: str, chunks: AsyncIterator[bytes], content_type: str, *, check: Callable[[str], object]
    ) -> Upload:
        """Receive a form with one file, and perhaps a field `classes`.

        Args:
            job_id: of the job that the file will belong to.
            chunks: the body of the request.
            content_type: of the request, with the boundary.
            check: called with the field `classes` before the file is written; what it raises ends the request.

        Returns:
            The file, on disk.

        Raises:
            UploadError: the form is not one, has no file, or does not arrive.
            OutputError: the disk is full, or refuses.
        """
        with _Receiver(self._root / job_id, self.max_bytes) as receiver:
            form = _Form(content_type, receiver, check)
            await _each(chunks, form.write)
            classes = form.finish()
            kept = await asyncio.to_thread(receiver.keep)  # fsync of gigabytes takes seconds
            return replace(kept, classes=classes)

    async def store(self, job_id: str, name: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Store a file that is fetched from elsewhere, see `receive`.

        Args:
            job_id: of the job that the file will belong to.
            name: of the file, as the other side says.
            chunks: its content.
        """
        with _Receiver(self._root / job_id, self.max_bytes) as receiver:
            receiver.begin(name)
            await _each(chunks, receiver.write)
            return await asyncio.to_thread(receiver.keep)  # fsync of gigabytes takes seconds


async def _each(chunks: AsyncIterator[bytes], write: Callable[[bytes], None]) -> None:
    """Write chunks as they arrive. Raises UploadError where none arrives for a while."""
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), UPLOAD_SECONDS)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise UploadError(f"no byte has arrived for {UPLOAD_SECONDS} s; the upload was given up") from error
        write(chunk)


@dataclass
class _Receiver:
    """The file on disk. Unless it is kept, nothing stays of it."""

    folder: Path
    max_bytes: int
    name: str = ""
    size: int = 0
    _part: Path | None = None
    _mode: int = 0
    _file: IO[bytes] | None = None
    _kept: bool = False

    def __enter__(self) -> _Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk refuses what is left in its buffer, too
                self._file.close()
        if not self._kept:
            if self._part is not None:
                discard(self._part)
            shutil.rmtree(self.folder, ignore_errors=True)

    def begin(self, name: str) -> None:
        """Open the file, under a temporary name. Raises UploadError for a second file, OutputError."""
        if self._file is not None:
            raise UploadError("the form has more than one file; send one at a time")
        self.name = clean_name(name)
        make_folder(self.folder)
        try:
            self._part, self._mode = create_part(self.folder)
            self._file = self._part.open("wb")
        except OSError as error:
            raise self._refused(error) from error

    def write(self, data: bytes) -> None:
        """Append to the file. Raises UploadTooLargeError, OutputError."""
        assert self._file is not None
        self.size += len(data)
        if self.size > self.max_bytes:
            raise UploadTooLargeError(
                f"{escape(self.name)}: larger than {self.max_bytes >> 20:,} MiB, the most that is taken"
            )
        try:
            self._file.write(data)
        except OSError as error:
            raise self._refused(error) from error

    def keep(self) -> Upload:
        """Write the file to disk and give it its name."""
        assert self._file is not None
        assert self._part is not None
        path = self.folder / self.name
        try:
            self._file.close()
            finish_part(self._part, path, self._mode)
        except OSError as error:
            raise self._refused(error) from error
        self._kept = True
        return Upload(self.name, path, self.size)

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"{escape(self.name)}: cannot be stored: {error.strerror or error}")


@dataclass
class _Form:
    """A form in `multipart/form-data` with one file; of fields without a file name, only `classes` is taken."""

    content_type: str
    receiver: _Receiver
    check: Callable[[str], object]
    _around: int = 0  # bytes that are not the file's
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _classes: bytearray = field(default_factory=bytearray)
    _is_file: bool = False  # the part that is read
    _ended: bool = False

    def __post_init__(self) -> None:
        kind, options = parse_options_header(self.content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise UploadError("expected a form in multipart/form-data with a boundary")
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_ended,
                "on_headers_finished": self._headers_ended,
                "on_part_data": lambda data, start, end: self._write_part(data[start:end]),
                "on_end": self._form_ended,
            },
        )
        self._disposition = b""

    def write(self, chunk: bytes) -> None:
        """Parse a chunk of the body. Raises UploadError, OutputError."""
        before = self.receiver.size
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise UploadError(f"not a form in multipart/form-data: {escape(error)}") from error
        self._around += len(chunk) - (self.receiver.size - before)
        if self._around > MAX_FORM_BYTES:
            raise UploadError(f"the form has more than {MAX_FORM_BYTES:,} bytes beside the file")

    def finish(self) -> str:
        """Check that the form was complete, and return the field `classes`. Raises UploadError."""
        if not self._ended or not self.receiver.name:
            raise UploadError("the form ended before its file was complete, or has no file")
        return self._read_classes()

    def _read_classes(self) -> str:
        try:
            return self._classes.decode()
        except UnicodeDecodeError as error:
            raise UploadError('the field "classes" is not UTF-8') from error

    def _write_part(self, data: bytes) -> None:
        if self._is_file:
            self.receiver.write(data)
        else:
            self._classes.extend(data)

    def _header_ended(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_ended(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = b"filename" in options
        if not self._is_file:
            if options.get(b"name") != b"classes" or self._classes:
                raise UploadError('the form has a field without a file name; send only "file", and "classes" once')
            return
        self.check(self._read_classes())  # where it is before the file, nobody sends the file in vain
        self.receiver.begin(options[b"filename"].decode("utf-8", "replace"))

    def _form_ended(self) -> None:
        self._ended = True


def clean_name(name: str) -> str:
    """Return the name of a file that was sent, such that it names a visible file in a folder and is safe to show.

    Args:
        name: as it was sent; browsers of old send a path.

    Returns:
        At most `MAX_UPLOAD_NAME` bytes of UTF-8; the suffix is kept.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    text = safe_file_name(_UNPRINTABLE.sub("_", last.encode("utf-8", "replace").decode()).strip())
    stem, dot, suffix = text.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, dot, suffix = text, "", ""
    room = MAX_UPLOAD_NAME - len((dot + suffix).encode())
    return (stem.encode()[:room].decode("utf-8", "ignore").rstrip() or "media") + dot + suffix
